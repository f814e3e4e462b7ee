"""Segments are written ahead in idle time, and never at the cost of what arrives."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from egfr_dls.spool import DirectorySpool, filler
from egfr_dls.spool.filler import QUIET_SECONDS, Filler
from tests.egfr_dls.spool.entries import ENTRY, LISTENER, entries, files, numbered

STEPS = 3
SEGMENT = STEPS * filler.STEP_BYTES - 5  # the last step is a short one


class Idle:
    """An idle spool's clock and disk, changed by the test between two steps."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.quiet, self.spare, self.asked = QUIET_SECONDS, 10 * SEGMENT, 0
        self.busy_after: int | None = None
        self.filler = Filler(root / LISTENER / "ready", SEGMENT, self.quiet_seconds, lambda: self.spare)

    def quiet_seconds(self) -> float:
        self.asked += 1
        return self.quiet if self.busy_after is None or self.asked <= self.busy_after else 0.0

    def sizes(self) -> list[int]:
        return [path.stat().st_size for path in files(self.root, "ready")]


@pytest.fixture
def idle(spool: DirectorySpool, root: Path) -> Idle:
    """A spool that nothing arrives at."""
    assert spool.listeners()
    return Idle(root)


def test_two_segments_are_kept_ready(idle: Idle) -> None:
    idle.filler.fill()
    idle.filler.fill()
    assert idle.sizes() == [SEGMENT, SEGMENT]
    assert all(set(path.read_bytes()) == {0} for path in files(idle.root, "ready"))


def test_a_ready_segment_is_written_into_and_does_not_grow(idle: Idle, root: Path) -> None:
    idle.filler.fill()
    spool = DirectorySpool(root, LISTENER, segment_bytes=SEGMENT)
    for n in range(5):
        spool.append(numbered(n), [bytes(1000)])
    assert entries(spool) == [numbered(n) for n in range(5)]
    assert [p.stat().st_size for p in files(root, "active")] == [SEGMENT]
    assert len(files(root, "ready")) == 1
    spool.close()
    again = DirectorySpool(root, LISTENER, segment_bytes=SEGMENT)
    again.append(numbered(5))
    again.close()
    assert len(entries(spool)) == 6, "the tail is found among zeros"
    assert len(files(root, "ready")) == 1


def test_it_stops_as_soon_as_something_arrives_and_goes_on_later(idle: Idle) -> None:
    idle.busy_after = 3  # begin, and two steps
    idle.filler.fill()
    assert idle.sizes() == [2 * filler.STEP_BYTES]
    idle.busy_after = None
    idle.filler.fill()
    assert idle.sizes() == [SEGMENT, SEGMENT]


def test_a_half_filled_segment_is_as_good_as_a_new_one(idle: Idle, root: Path) -> None:
    idle.busy_after = 2
    idle.filler.fill()
    spool = DirectorySpool(root, LISTENER, segment_bytes=SEGMENT)
    ref = spool.append(ENTRY, [bytes(2 * filler.STEP_BYTES)])
    assert (len(spool.read(ref)), entries(spool)) == (ref.length, [ENTRY])
    assert idle.sizes() == []
    spool.close()


def test_a_writer_does_not_take_what_is_being_filled(idle: Idle, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = DirectorySpool(root, LISTENER, segment_bytes=SEGMENT)
    fdatasync, refs = os.fdatasync, []

    def arrives(fd: int) -> None:
        fdatasync(fd)
        if not refs:
            refs.append(None)
            refs[0] = spool.append(ENTRY, [b"x" * 100])
            assert idle.sizes() == [filler.STEP_BYTES], "still where it was"

    monkeypatch.setattr(os, "fdatasync", arrives)
    idle.filler.fill()
    assert spool.read(refs[0]) == b"x" * 100
    assert idle.sizes() == [SEGMENT, SEGMENT]
    spool.close()


def test_nothing_is_filled_below_the_disks_floor(idle: Idle) -> None:
    idle.spare = SEGMENT - 1
    idle.filler.fill()
    assert idle.sizes() == []


def test_a_spool_is_quiet_when_no_record_is_open(spool: DirectorySpool) -> None:
    pool = spool._writing()
    writer = spool.begin()
    assert pool.quiet_seconds() == 0.0
    writer.discard()
    assert pool.quiet_seconds() > 0.0


def test_it_is_not_quiet_while_another_process_of_the_listener_writes(spool: DirectorySpool, root: Path) -> None:
    pool = spool._writing()
    pool._last -= 1000
    other = DirectorySpool(root, LISTENER)
    other.append(ENTRY)
    assert pool.quiet_seconds() < 500
    (path,) = files(root, "active")
    os.utime(path, (path.stat().st_mtime - 1000,) * 2)
    assert pool.quiet_seconds() > 500
    other.close()


def test_it_works_in_a_thread_that_ends_with_its_block(
    spool: DirectorySpool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(filler, "TICK_SECONDS", 0.0)
    full = threading.Event()
    fill = Filler.fill
    monkeypatch.setattr(Filler, "fill", lambda self: (fill(self), full.set())[0])
    with spool.preparing(0):
        assert full.wait(20)
    assert len(files(root, "ready")) == 2
    assert not [t for t in threading.enumerate() if t.name == "filler"]


def test_a_disk_that_fails_is_logged_and_tried_again_later(idle: Idle, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) > 2

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(idle.filler._stop, "wait", wait)
    monkeypatch.setattr(os, "pwrite", fail)
    with capture_logs() as events:
        idle.filler._run()
    assert pauses == [filler.TICK_SECONDS, filler.RETRY_SECONDS, filler.RETRY_SECONDS]
    assert {event["event"] for event in events} == {"segments_not_filled"}
