"""SIGKILL at random moments under load: what was acknowledged is there, byte for byte, and nothing else."""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.durability.load import REST_SECONDS, Promises, never, sending
from benchmarks.durability.node import LIMIT_SECONDS, WORKER, Node, free_port, kill, write_config
from benchmarks.durability.verdict import Tally, in_ledger, in_spool, judge_ledger, judge_spool
from egfr_dls.spool import layout

SENDERS = 4
EARLY_SHARE, EARLY_SECONDS, LATE_SECONDS = 0.3, 1.0, 0.8  # kills from the start on, within; the others once it listens
TARGETS = {"first receiver": 40, "indexer": 20, "further receiver": 20, "all": 20}
PLACES = {"first receiver": 0, "indexer": 1, "further receiver": 2}  # among a node's parts; all: in random order
KILLS_A_ROOT, KILLS_A_CHECK = 50, 10
PATIENCE_SECONDS = 15.0  # for a listener, to end when a part of it was killed


@dataclass
class Kills:
    """What was done, and what was seen."""

    targets: Counter[str] = field(default_factory=Counter)
    before_listening: int = 0
    roots: int = 0
    checks: int = 0
    unfilled: int = 0  # segments that were neither full nor given up, at most
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """How many kills there were."""
        return self.targets.total()


def run_kills(folder: Path, kills: int, seed: int, rest: Callable[[], bool] = never) -> Kills:
    """Kill a listener that many times, on a fresh root now and then; half of the roots have two receivers.

    Parameters
    ----------
    rest
        while it says so, nothing is done
    """
    found, begun_at, chosen = Kills(), time.monotonic(), random.Random(seed)
    while found.done < kills:
        root = folder / f"root-{found.roots}"
        root.mkdir(parents=True)
        port = free_port()
        config = write_config(root, port=port, workers=2 - found.roots % 2)
        with sending(port, SENDERS, seed + found.roots, rest) as promises:
            for n in range(min(KILLS_A_ROOT, kills - found.done)):
                _kill_once(config, chosen, found)
                if n % KILLS_A_CHECK == KILLS_A_CHECK - 1:
                    _check(root / "root", promises, found)
                while rest():
                    time.sleep(REST_SECONDS)
        _check(root / "root", promises, found)
        _check_ledger(config, root / "root", promises, found)
        found.roots += 1
        print(
            f"{found.done} kills, {found.tally.acknowledged} acknowledged, {found.tally.faults} faults", file=sys.stderr
        )
        if found.tally.faults:  # what is there may be looked at
            break
        shutil.rmtree(root)
    found.seconds = time.monotonic() - begun_at
    return found


def _kill_once(config: Path, chosen: random.Random, found: Kills) -> None:
    """Start, kill at a random moment, and return when nothing runs."""
    (target,) = chosen.choices(list(TARGETS), list(TARGETS.values()))
    node = Node(config)
    if chosen.random() < EARLY_SHARE:
        moment = chosen.uniform(0.0, EARLY_SECONDS)
    else:
        node.wait_until_listening()
        moment = chosen.uniform(0.0, LATE_SECONDS)
    if (code := node.ended(moment)) is not None:
        found.tally.remarks.append(f"ended by itself with {code}")
    parts = node.parts()
    if PLACES.get(target, 0) >= len(parts):
        target = "first receiver"
    victims = [parts[PLACES[target]]] if target in PLACES else chosen.sample(parts, len(parts))
    kill(victims)
    found.targets[target] += 1
    found.before_listening += not node.listens()
    waits = node.pid not in victims and chosen.random() < 0.7  # else it dies while it comes to its end
    if waits and node.ended(PATIENCE_SECONDS) in (0, None):
        found.tally.remarks.append(f"went on without the {target}")
    node.vanish()


def _check(root: Path, promises: Promises, found: Kills) -> None:
    """Read the spool back while nobody writes."""
    acknowledged = promises.acknowledged.copy()
    found.checks += 1
    if acknowledged:
        judge_spool(found.tally, in_spool(root / "spool"), promises.begun, acknowledged)
        found.unfilled = max(found.unfilled, _unfilled(root / "spool" / WORKER))


def _check_ledger(config: Path, root: Path, promises: Promises, found: Kills) -> None:
    """Have the rest indexed and compare."""
    node = Node(config)
    node.wait_until_listening()
    if (code := node.terminate()) != 0:
        found.tally.remarks.append(f"drained with {code} within {LIMIT_SECONDS:g} s")
    node.vanish()
    kept = in_spool(root / "spool")
    judge_spool(found.tally, kept, promises.begun, promises.acknowledged)
    judge_ledger(found.tally, kept, *in_ledger(root))
    found.tally.acknowledged += len(promises.acknowledged)
    found.tally.present += sum(promises.begun[uid] in kept.get(uid, ()) for uid in promises.acknowledged)


def _unfilled(listener: Path) -> int:
    paths = layout.segments(listener / layout.ACTIVE)
    return sum(path.stat().st_mode & 0o777 == layout.OPEN_MODE for path in paths)
