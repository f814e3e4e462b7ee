"""Runs the rounds: receivers alternate, each run begins with an empty folder and a clean disk cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.receive import receivers, senders
from benchmarks.receive.certificates import certificates_beside
from benchmarks.receive.processes import Memory, cpu_seconds, sampled_memory
from benchmarks.receive.receivers import Receiver, running
from benchmarks.receive.rows import Row
from benchmarks.receive.senders import Send, Sent
from benchmarks.receive.studies import Studies, Study
from benchmarks.receive.syncs import STRACE, Syncs, read_file
from tests.system.waiting import wait_until

SETTLE_SECONDS = 600.0
FAILED = (AssertionError, OSError, subprocess.SubprocessError)
STRACED = (
    receivers.OURS,
    receivers.STORESCP,
    receivers.STORESCP_BEST,
    receivers.ORTHANC,
    receivers.PYNETDICOM,
)


@dataclass(frozen=True)
class Run:
    """One study received: what the sender saw, and the receiver's CPU until all was stored and indexed, s."""

    sent: Sent
    cpu_seconds: float


@dataclass
class Result:
    """All that was measured of a receiver in one row; ``failure`` says why there is nothing (more)."""

    receiver: Receiver
    runs: list[Run] = field(default_factory=list)
    memory: Memory | None = None
    failure: str = ""


@dataclass(frozen=True)
class Durability:
    """What strace showed of a receiver."""

    receiver: Receiver
    associations: int
    syncs: Syncs | None
    failure: str = ""


@dataclass(frozen=True)
class Flatness:
    """Our memory and rate over the first and the following instances of one receiver's life."""

    instances: int
    seconds: float
    cpu_seconds: float
    memory: Memory


def measure_row(row: Row, studies: Studies, rounds: int) -> tuple[Study, list[Result]]:
    """Measure a row: timed rounds, then one for the memory, in which what was stored is read back as well."""
    study = row.study(studies)
    results = [Result(receiver) for receiver in row.receivers]
    rounds = min(rounds, row.rounds or rounds)
    for number in range(rounds + 1):
        turn = number % len(results)
        for result in results[turn:] + results[:turn]:
            if not result.failure:
                _progress(f"{row.name}, round {number + 1}: {result.receiver.name}")
                _attempt(result, row, study, studies.folder, timed=number < rounds)
        if results[0].failure:
            break
    return study, results


def measure_durability(studies: Studies) -> list[Durability]:
    """Trace each receiver while it takes a few instances.

    Ours with four associations as well, each thread followed for itself: it writes, syncs and answers in one.
    """
    study, found = studies.few(), []
    for receiver, associations in [(receivers.OURS, 4), *((receiver, 1) for receiver in STRACED)]:
        _progress(f"strace: {receiver.name}")
        trace = studies.folder / "trace"
        try:
            with _run(receiver, studies.folder, [*STRACE, str(trace)]) as (_pid, port, folder):
                senders.light(study, port, associations)
                _wait_until_stored(receiver, folder, study.instances)
            seen = read_file(trace, receiver.data, by_thread=associations > 1)
            found.append(Durability(receiver, associations, seen))
        except FAILED as error:
            found.append(Durability(receiver, associations, None, str(error)))
    return found


def measure_flatness(studies: Studies, counts: Sequence[int]) -> list[Flatness]:
    """Send tiny instances to one listener of ours, up to each count in turn, and watch its memory."""
    found = []
    with _run(receivers.OURS, studies.folder) as (pid, port, folder):
        first = 0
        for count in counts:
            _progress(f"flatness: {count} instances")
            before = cpu_seconds(pid)
            with sampled_memory(pid) as memory:
                sent = senders.light(studies.many(count - first), port, 1, options=("--first", str(first)))
                _wait_until_stored(receivers.OURS, folder, count)
            found.append(Flatness(count - first, sent.seconds, cpu_seconds(pid) - before, memory))
            first = count
    return found


def _attempt(result: Result, row: Row, study: Study, scratch: Path, *, timed: bool) -> None:
    try:
        if timed:
            result.runs.append(_timed(result.receiver, row, study, scratch))
        else:
            result.memory = _remembered(result.receiver, row, study, scratch)
    except FAILED as error:
        result.failure = str(error)


def _timed(receiver: Receiver, row: Row, study: Study, scratch: Path) -> Run:
    with _run(receiver, scratch) as (pid, port, folder):
        before = cpu_seconds(pid)
        sent = _sender(receiver, row, scratch)(study, port, row.associations)
        _wait_until_stored(receiver, folder, study.instances)
        return Run(sent, cpu_seconds(pid) - before)


def _remembered(receiver: Receiver, row: Row, study: Study, scratch: Path) -> Memory:
    with _run(receiver, scratch) as (pid, port, folder):
        with sampled_memory(pid) as memory:
            _sender(receiver, row, scratch)(study, port, row.associations)
            _wait_until_stored(receiver, folder, study.instances)
        if receiver.digests is not None and receiver.digests(folder) != study.digests():
            raise AssertionError(f"{receiver.name} did not store the data sets as they were sent")
        return memory


def _sender(receiver: Receiver, row: Row, scratch: Path) -> Send:
    if not receiver.secure:
        return row.send
    return partial(senders.light, options=("--tls", str(certificates_beside(scratch / "run") / "ca.pem")))


@contextmanager
def _run(receiver: Receiver, scratch: Path, wrapper: Sequence[str] = ()) -> Iterator[tuple[int, int, Path]]:
    """Run a receiver in a folder of its own, which is deleted afterwards; nothing of the run before is left to be written."""
    folder = scratch / "run"
    os.sync()
    try:
        with running(receiver, folder, wrapper) as (pid, port):
            yield pid, port, folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_stored(receiver: Receiver, folder: Path, count: int) -> None:
    wait_until(
        lambda: receiver.stored(folder) == count,
        f"{receiver.name} stored {count} instances",
        seconds=SETTLE_SECONDS,
        every_seconds=0.2,
        context=lambda: f"{receiver.stored(folder)} are there",
    )


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
