"""The power fails: a listener is traced under load, and what its disk may hold at a moment is opened and checked."""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Set
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.durability.load import Promises, sending
from benchmarks.durability.node import WORKER, Command, Node, free_port, write_config
from benchmarks.durability.states import Disk
from benchmarks.durability.trace import Kind, build_shim, read_notes
from benchmarks.durability.verdict import Tally, in_ledger, in_spool, judge_ledger, judge_spool
from egfr_dls.spool import SpoolReadError, layout
from tests.system.waiting import wait_until

SENDERS, STARTS = 3, 3
ENOUGH = 30  # acknowledged instances a start
# Studies of CT alone are over at once, and their instances are given up at the next start: segments are recycled.
STORAGE, QUIET_SECONDS = "retention_days = 0", 0
MORE_SEEDS = 4000  # of what is sent to these listeners; a trace's are smaller
STARTED_EVERY = 50  # states; on these a listener is started
_BORDERS = {Kind.SYNC_BEGINS, Kind.SYNCED, Kind.SENT, Kind.RENAME, Kind.REMOVE, Kind.MAKE}


@dataclass
class PowerFailures:
    """What was tried, and what was seen."""

    traces: int = 0
    steps: int = 0
    states: int = 0
    started: int = 0  # of these, states on which a listener was started
    rebuilt: int = 0  # of those, without their ledger
    promises: int = 0  # (state, acknowledged instance) pairs that were looked up
    released: int = 0  # of these, of studies that retention had given up before
    acknowledged: int = 0
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class Traced:
    """What a trace left."""

    root: Path
    root_inode: int
    log: Path
    promises: Promises


def run_power_failures(folder: Path, traces: int, states: int, seed: int, *, lose: str = "") -> PowerFailures:
    """Trace a listener, several times; try about ``states`` states of each.

    Parameters
    ----------
    lose
        break the product: this call ("fdatasync" or "fsync") does nothing, and that must be found
    """
    found, begun_at = PowerFailures(), time.monotonic()
    shim = build_shim(folder)
    for n in range(traces):
        work = folder / f"trace-{n}"
        work.mkdir()
        traced = _trace(work, shim, seed + n, workers=1 + n % 2, lose=lose)
        _replay(work, traced, states, random.Random(seed + n), found)
        found.traces += 1
        found.acknowledged += len(traced.promises.acknowledged)
        print(f"{found.states} states, {found.tally.faults} faults", file=sys.stderr, flush=True)
        if found.tally.faults:
            break
        shutil.rmtree(work)
    found.seconds = time.monotonic() - begun_at
    return found


def _trace(work: Path, shim: Path, seed: int, *, workers: int, lose: str) -> Traced:
    root, port = work / "root", free_port()
    root.mkdir()
    config = write_config(work, port=port, workers=workers, quiet_seconds=QUIET_SECONDS, storage=STORAGE)
    traced = Traced(root, root.stat().st_ino, work / "log", Promises())
    environment = {"LD_PRELOAD": str(shim), "SHIM_ROOT": str(root), "SHIM_LOG": str(traced.log)}
    if lose:
        environment["SHIM_LOSE"] = lose
    for start in range(STARTS):
        node = Command(config, environment, "benchmarks.durability.small")
        with sending(port, SENDERS, seed * STARTS + start) as promises:
            wait_until(partial(_enough, promises), "instances acknowledged")
        if (code := node.terminate()) != 0:
            raise ChildProcessError(f"the traced listener ended with {code}")
        traced.promises.begun.update(promises.begun)
        traced.promises.studies.update(promises.studies)
        traced.promises.acknowledged.update(promises.acknowledged)
    return traced


def _enough(promises: Promises) -> bool:
    return len(promises.acknowledged) >= ENOUGH


def _replay(work: Path, traced: Traced, states: int, chosen: random.Random, found: PowerFailures) -> None:
    notes = list(read_notes(traced.log))
    objects = work / "objects"
    objects.mkdir()
    disk, acknowledged = Disk(traced.root, traced.root_inode, objects), set[str]()
    share = states / sum(note.kind in _BORDERS for note in notes)
    found.steps += len(notes)
    for at, note in enumerate(notes):
        disk.follow(at, note)
        if (uid := note.acknowledges()) is not None:
            acknowledged.add(uid)
        if chosen.random() < (share if note.kind in _BORDERS else share / 20):
            _try(work / "state", disk, chosen, acknowledged, traced.promises, found)


def _try(
    state: Path,
    disk: Disk,
    chosen: random.Random,
    acknowledged: Set[str],
    promises: Promises,
    found: PowerFailures,
) -> None:
    root = state / "root"
    root.mkdir(parents=True)
    disk.crashed(root, chosen)
    found.states += 1
    faults = found.tally.faults
    judge(root, acknowledged, promises, found)
    if found.states % STARTED_EVERY == 0 and found.tally.faults == faults:
        _start(state, chosen, acknowledged, promises, found)
    if found.tally.faults > faults:  # copied: the trace goes on with the files that are shared
        shutil.copytree(state, state.with_name(f"fault-{found.states}"))
    shutil.rmtree(state)


def judge(root: Path, acknowledged: Set[str], promises: Promises, found: PowerFailures) -> None:
    """Read back what a state holds."""
    (root / "spool").mkdir(exist_ok=True)
    kept = in_spool(root / "spool")
    try:
        gone, (indexed, _) = _released(root), in_ledger(root)
    except sqlite3.OperationalError:  # no table yet
        gone, indexed = frozenset(), {}
    except (sqlite3.DatabaseError, SpoolReadError) as error:
        found.tally.remarks.append(f"the ledger of state {found.states}: {error}")
        gone, indexed = frozenset(), {}
    expected = {uid for uid in acknowledged if uid in kept or promises.studies[uid] not in gone}
    found.promises += len(acknowledged)
    found.released += len(acknowledged) - len(expected)
    judge_spool(found.tally, kept, promises.begun, expected)
    ready = layout.segments(root / "spool" / WORKER / layout.READY)
    found.tally.remarks += [
        f"{path.name} is ready and closed" for path in ready if path.stat().st_mode & 0o777 == layout.CLOSED_MODE
    ]
    found.tally.unindexed += [uid for uid, digests in indexed.items() if not digests <= kept.get(uid, frozenset())]


def _released(root: Path) -> frozenset[str]:
    """Return the studies whose instances the ledger, if there is one yet, says were given up."""
    with closing(sqlite3.connect(root / "ledger.sqlite")) as db, suppress(sqlite3.OperationalError):
        return frozenset(study for (study,) in db.execute("SELECT study_instance_uid FROM released_study"))
    return frozenset()


def _start(
    state: Path, chosen: random.Random, acknowledged: Set[str], promises: Promises, found: PowerFailures
) -> None:
    """Have a listener go on with a copy of a state, half of them without the ledger; it has to have everything afterwards."""
    root = state / "started" / "root"
    shutil.copytree(state / "root", root)
    if lost := chosen.random() < 0.5:
        for path in root.glob("ledger.sqlite*"):
            path.unlink()
    before, given_up = in_spool(root / "spool"), frozenset() if lost else _released(root)
    try:
        more = _receive_on(root.parent, MORE_SEEDS + found.states % MORE_SEEDS)
    except (AssertionError, ChildProcessError) as error:
        found.tally.remarks.append(f"a listener on state {found.states}: {str(error).splitlines()[0]}")
        return
    begun, studies = promises.begun | more.begun, promises.studies | more.studies
    kept, (indexed, rows), gone = in_spool(root / "spool"), in_ledger(root), _released(root)
    expected = {uid for uid in acknowledged & before.keys() if studies[uid] not in given_up} | more.acknowledged
    judge_spool(found.tally, kept, begun, expected)
    # what was given up stays in the spool while others lie beside it
    here, there = ({uid: of[uid] for uid in of if studies[uid] not in gone} for of in (kept, indexed))
    judge_ledger(found.tally, here, there, rows)
    found.tally.remarks += [f"{name} is sealed and could never be released" for name in _stuck(root)]
    found.started += 1
    found.rebuilt += lost


def _receive_on(folder: Path, seed: int) -> Promises:
    """Start a listener, send a little, and have it drain."""
    port = free_port()
    node = Node(write_config(folder, port=port))
    try:
        node.wait_until_listening()
        with sending(port, 1, seed) as more:
            wait_until(lambda: len(more.acknowledged) >= 3, "it goes on")
        if (code := node.terminate()) != 0:
            raise ChildProcessError(f"it ended with {code}")
    finally:
        node.vanish()
    return more


def _stuck(root: Path) -> set[str]:
    """Return the segments that are put away as full and that the ledger does not know as such."""
    with closing(sqlite3.connect(root / "ledger.sqlite")) as db:
        known = {name for (name,) in db.execute("SELECT name FROM segment WHERE sealed")}
    paths = layout.segments(root / "spool" / WORKER / layout.SEALED)
    return {layout.segment_name(path) for path in paths} - known
