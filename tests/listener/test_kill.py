"""kill -9 while receiving: every acknowledged instance is in the spool, and indexed once by whoever comes after."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.durability.kills import SENDERS, run_kills
from egfr_dls.ledger import Ledger, instances, schema, studies
from egfr_dls.spool import DirectorySpool
from egfr_dls.study import ReceivedInstance, StudyState
from tests.builders import STUDY_UID
from tests.listener.nodes import until

CONFIG = """
[listener]
port = 0
workers = {workers}
peers = [{{ ae_title = "SCANNER", host = "127.0.0.1" }}]
[storage]
root = "{root}"
min_free_bytes = 0
[study]
quiet_seconds = 0
"""
pytestmark = pytest.mark.system


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (1, 2)])
def test_no_acknowledged_instance_is_lost(tmp_path: Path, seed: int, workers: int) -> None:
    config = configured(tmp_path, workers)
    moments = random.Random(seed)  # which moment it dies in differs by seed
    acknowledged: list[str] = []
    for n in range(2):
        with process(config) as (listener, port):
            acknowledged += killed_while_sending(listener, port, f"1.2.3.{n + 1}", moments.randrange(1, 60))
    drained(config)
    kept, indexed, snapshot, state = found(tmp_path / "root")
    assert set(acknowledged) <= kept == indexed
    assert (snapshot.open_associations, snapshot.interrupted) == (0, True)
    assert state in (StudyState.RECEIVING, StudyState.NOT_APPLICABLE), "no result of a part"


@pytest.mark.parametrize("part", ["indexer", "receiver"])
def test_a_part_that_dies_ends_the_listener_and_the_next_one_goes_on(tmp_path: Path, part: str) -> None:
    config = configured(tmp_path, workers=2)
    with process(config) as (listener, port):
        children = children_of(listener.pid)  # in the order in which they were forked
        victim = {"indexer": children[0], "receiver": children[1]}[part]
        acknowledged = killed_while_sending(victim, port, "1.2.3", 20, then=listener)
        assert listener.returncode == 1, "its supervisor starts it again"
        until(lambda: not any(map(alive, children)), "no part outlives the listener")
    drained(config)
    kept, indexed, snapshot, _state = found(tmp_path / "root")
    assert set(acknowledged) <= kept == indexed
    assert snapshot.open_associations == 0


def test_no_part_outlives_the_first_process(tmp_path: Path) -> None:
    config = configured(tmp_path, workers=2)
    with process(config) as (listener, _port):
        children = children_of(listener.pid)
        assert len(children) == 2
        listener.kill()
        until(lambda: not any(map(alive, children)), "no part outlives the listener")
    drained(config)


def test_another_listener_adopts_what_a_dead_one_left(tmp_path: Path) -> None:
    """Each acknowledged instance is in the ledger once; the association is aborted, the segments are sealed."""
    config = configured(tmp_path, workers=1)
    with process(config, "--worker", "first") as (listener, port):
        acknowledged = killed_while_sending(listener, port, "1.2.3", 30)
    lease_runs_out(tmp_path / "root", "first")
    with process(config, "--worker", "second") as (listener, _port):
        until(lambda: logged(config.with_suffix(".log"), "listener_adopted"), "adopted")
        until(lambda: not list((tmp_path / "root" / "spool" / "first" / "active").iterdir()), "sealed")
        until(lambda: found(tmp_path / "root")[2].open_associations == 0, "aborted")
        listener.send_signal(signal.SIGTERM)
        assert listener.wait(20) == 0
    drained(config, "--worker", "first")
    kept, indexed, snapshot, _state = found(tmp_path / "root")
    assert set(acknowledged) <= kept == indexed
    assert snapshot.interrupted


def test_two_listeners_of_one_name_cannot_share_a_root(tmp_path: Path) -> None:
    config = configured(tmp_path, workers=1)
    with process(config):
        command = [sys.executable, "-m", "egfr_dls", "listener", "--config", str(config)]
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 78
    assert "another listener named" in second.stderr


def configured(folder: Path, workers: int) -> Path:
    """Write a configuration whose root lies beside it."""
    config = folder / "config.toml"
    config.write_text(CONFIG.format(root=folder / "root", workers=workers))
    return config


def found(root: Path) -> tuple[set[str], set[str], studies.StudySnapshot, StudyState]:
    """Return the instances of the spool and of the ledger, each of which it has once, and how the study stands."""
    spool = DirectorySpool(root / "spool")
    records = (r.entry for name in spool.listeners() for r in spool.records(name, {}, everything=True))
    kept = {entry.sop_instance_uid for entry in records if isinstance(entry, ReceivedInstance)}
    ledger = Ledger(f"sqlite:///{root / 'ledger.sqlite'}")
    with ledger.read() as tx:
        indexed = instances.all_sop_instance_uids(tx)
        assert len(indexed) == instances.count(tx, STUDY_UID)
        snapshot, state = studies.snapshot(tx, STUDY_UID), studies.state(tx, STUDY_UID)
    ledger.close()
    return kept, set(indexed), snapshot, state


def lease_runs_out(root: Path, name: str) -> None:
    """Do what an hour does."""
    ledger = Ledger(f"sqlite:///{root / 'ledger.sqlite'}")
    with ledger.begin() as tx:
        tx.execute(schema.listener.update().where(schema.listener.c.name == name).values(lease_until=0.0))
    ledger.close()


@pytest.mark.system
def test_twenty_kills_of_the_listener_or_a_part_of_it(tmp_path: Path) -> None:
    """At random moments, at the start or under load from four senders: byte for byte, and once in the ledger."""
    found = run_kills(tmp_path, 20, seed=5)
    assert found.done == 20
    assert found.tally.faults == 0, found.tally
    assert found.tally.present == found.tally.acknowledged >= 100
    assert found.unfilled <= SENDERS * 2, "each sender has one segment in each of two receivers"


def killed_while_sending(
    victim: subprocess.Popen[bytes] | int,
    port: int,
    uid_root: str,
    after: int,
    then: subprocess.Popen[bytes] | None = None,
) -> list[str]:
    """Kill a process once that many instances were acknowledged; return all that were, when ``then`` has ended too."""
    command = [sys.executable, "-m", "tests.listener.sender", str(port), uid_root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as sender:
        assert sender.stdout is not None
        first = [next(sender.stdout).strip() for _ in range(after)]
        os.kill(victim if isinstance(victim, int) else victim.pid, signal.SIGKILL)
        if then is not None:
            sender.kill()
            then.wait(20)
        return first + sender.stdout.read().split()


def drained(config: Path, *options: str) -> None:
    """Let the next listener index everything and end."""
    with process(config, *options) as (listener, _port):
        listener.send_signal(signal.SIGTERM)
        assert listener.wait(20) == 0, "a stage that drained ends with 0"


@contextmanager
def process(config: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run ``egfr-dls listener`` as a process of its own."""
    log = config.with_suffix(".log")
    command = [sys.executable, "-m", "egfr_dls", "listener", "--config", str(config), *options]
    with log.open("wb") as err, subprocess.Popen(command, stderr=err) as running:
        try:
            yield running, until(lambda: listening_port(log), "listening")
        finally:
            running.kill()


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has forked, oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def listening_port(log: Path) -> Any:
    return next((line["port"] for line in logged(log, "listening")), None)


def logged(log: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return [line for line in lines if line["event"] == event]
