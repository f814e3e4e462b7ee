"""The life of a segment: written by one process at a time, resumed, archived, recycled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from egfr_dls.errors import ConfigurationError
from egfr_dls.spool import DirectorySpool, SegmentFull, SpoolReadError, SpoolWriteError, layout, record
from egfr_dls.study import SpoolRef
from tests.egfr_dls.spool.entries import (
    ENTRY,
    LISTENER,
    SEGMENT_BYTES,
    entries,
    files,
    fill,
    numbered,
    records,
)  # fmt: skip


@pytest.fixture
def sealed(spool: DirectorySpool) -> SpoolRef:
    """A record in a sealed segment."""
    ref = spool.append(numbered(0), [b"old" * SEGMENT_BYTES])
    spool.archive(ref.segment)
    return ref


@pytest.fixture
def another(root: Path) -> Iterator[DirectorySpool]:
    """A second writer in the same folder, as another process of the same listener has it."""
    made = DirectorySpool(root, LISTENER, segment_bytes=SEGMENT_BYTES)
    yield made
    made.close()


def test_reading_goes_on_past_a_watermark(spool: DirectorySpool) -> None:
    refs = [spool.append(numbered(n), [b"x"]) for n in range(3)]
    marks = [{ref.segment: ref.offset + ref.length} for ref in refs]
    assert [r.entry for r in spool.records(LISTENER, marks[0])] == [numbered(1), numbered(2)]
    assert list(spool.records(LISTENER, marks[2])) == []


def test_a_full_segment_is_followed_by_a_new_one(spool: DirectorySpool) -> None:
    refs = [spool.append(numbered(n), [bytes(SEGMENT_BYTES // 2)]) for n in range(4)]
    assert len({ref.segment for ref in refs}) == 2
    assert entries(spool) == [numbered(n) for n in range(4)]


def test_the_end_of_a_full_segment_is_told_until_it_is_archived(spool: DirectorySpool) -> None:
    """A crash between the ledger's commit and the archiving loses nothing."""
    name = fill(spool)
    told = list(spool.records(LISTENER, {}))
    assert [type(r.entry) for r in told] == [type(ENTRY), SegmentFull]
    assert (told[-1].ref.segment, told[-1].end) == (name, told[0].end)
    marks = {name: told[-1].end}
    assert [r.entry for r in spool.records(LISTENER, marks)] == [SegmentFull()]
    spool.archive(name)
    spool.archive(name)
    assert list(spool.records(LISTENER, marks)) == list(spool.records(LISTENER, {})) == []
    assert [r.entry for r in spool.records(LISTENER, {}, everything=True)] == [numbered(0), SegmentFull()]


def test_a_segment_that_failed_ends_too(spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(numbered(1))
    with monkeypatch.context() as broken, pytest.raises(SpoolWriteError):
        broken.setattr(os, "fdatasync", failing)
        spool.append(numbered(2))
    assert [r.entry for r in spool.records(LISTENER, {})] == [numbered(1), SegmentFull()]


def test_a_segment_that_is_still_written_is_not_archived(spool: DirectorySpool) -> None:
    ref = spool.append(ENTRY)
    with pytest.raises(ValueError, match="is not full"):
        spool.archive(ref.segment)
    assert entries(spool) == [ENTRY]


def test_an_archived_record_is_read_by_the_same_reference(spool: DirectorySpool, sealed: SpoolRef) -> None:
    assert spool.read(sealed) == b"old" * SEGMENT_BYTES
    spool.sync(sealed.segment)
    assert entries(spool) == [numbered(0)]


def test_everything_is_told_in_the_order_of_segments(spool: DirectorySpool) -> None:
    for n in range(3):
        spool.archive(fill(spool, n))
    fill(spool, 3)
    spool.append(numbered(4))
    assert entries(spool) == [numbered(n) for n in range(5)]


def test_an_old_segment_that_is_still_written_comes_before_a_younger_one(spool: DirectorySpool) -> None:
    """Two at once: the older one stays active while the younger one is full and archived."""
    older, younger = spool.begin(), spool.begin()
    younger.write([bytes(SEGMENT_BYTES)])
    spool.archive(younger.commit(numbered(2)).segment)
    older.commit(numbered(1))
    assert entries(spool) == [numbered(1), numbered(2)]


def test_a_segment_is_never_under_no_name(spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the new name is synced before that of the old one."""
    name, synced = fill(spool), []
    monkeypatch.setattr(layout, "sync_folder", lambda folder: synced.append(folder.name))
    spool.archive(name)
    spool.release(name)
    spool.append(ENTRY)
    assert synced == ["sealed", "active", "ready", "sealed", "active", "ready"]


@pytest.mark.parametrize(
    ("operation", "steps"), [("archive", [layout.CLOSED_MODE, "sealed"]), ("release", [layout.OPEN_MODE, "ready"])]
)
def test_the_mode_of_a_segment_is_synced_before_it_is_moved(
    spool: DirectorySpool, sealed: SpoolRef, monkeypatch: pytest.MonkeyPatch, operation: str, steps: list[object]
) -> None:
    """Else a power failure may leave it in ``sealed`` and never told to be full, or in ``ready`` and told to be full."""
    name, seen = fill(spool) if operation == "archive" else sealed.segment, []
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda fd: seen.append(os.fstat(fd).st_mode & 0o777))
        patched.setattr(layout, "move", lambda _path, to: seen.append(to.parent.name))
        getattr(spool, operation)(name)
    assert seen == steps


def test_the_next_process_goes_on_at_the_tail(spool: DirectorySpool, another: DirectorySpool, root: Path) -> None:
    first = spool.append(numbered(1), [b"x"])
    spool.close()
    with files(root, "active")[0].open("ab") as torn:
        torn.write(b"EGFRDLS2 torn" * 200)
    second = another.append(numbered(2), [b"y"])
    assert (second.segment, second.offset) == (first.segment, first.offset + first.length + 1024)
    assert entries(another) == [numbered(1), numbered(2)]


def test_restarts_leak_no_segments(root: Path) -> None:
    for n in range(10):
        spool = DirectorySpool(root, LISTENER)
        writers = [spool.begin(), spool.begin()]
        for k, writer in enumerate(writers):
            writer.commit(numbered(2 * n + k))
        spool.close()
    assert len(files(root, "active")) == 2
    assert len(entries(spool)) == 20


def test_two_writers_share_a_folder_and_never_a_segment(spool: DirectorySpool, another: DirectorySpool) -> None:
    refs = [one.append(numbered(n)) for n, one in enumerate([spool, another, spool, another])]
    assert refs[0].segment == refs[2].segment != refs[1].segment == refs[3].segment
    assert len(entries(spool)) == 4


def test_two_processes_share_a_folder(root: Path) -> None:
    """Each takes what is ready, unfilled or new; no record is overwritten by the other."""
    seed = DirectorySpool(root, LISTENER, segment_bytes=SEGMENT_BYTES)
    for n in range(3):
        name = fill(seed, 1000 + n)
        seed.archive(name)
        seed.release(name)
    seed.close()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_many, args=(root, first)) for first in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    found = records(seed)
    assert {r.entry for r in found} == {numbered(n) for n in (*range(60), *range(100, 160))}
    assert all(set(seed.read(r.ref)) == {int(r.entry.sop_instance_uid.split(".")[-1])} for r in found)  # type: ignore[union-attr]


def write_many(root: Path, first: int) -> None:
    """Append 60 records of 2 KB."""
    spool = DirectorySpool(root, LISTENER, segment_bytes=SEGMENT_BYTES)
    for n in range(first, first + 60):
        spool.append(numbered(n), [bytes([n]) * 2000])
    spool.close()


WRITER = """
import sys
from pathlib import Path
from egfr_dls.spool import DirectorySpool
from tests.egfr_dls.spool.entries import LISTENER, SEGMENT_BYTES, numbered
spool = DirectorySpool(Path(sys.argv[1]), LISTENER, segment_bytes=SEGMENT_BYTES)
stream = spool.begin()
for n in range(int(sys.argv[2]), 10**9):
    stream.write([bytes([n % 251]) * 777])
    spool.append(numbered(n), [bytes([n % 251]) * 1500])
    print(n, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(root: Path) -> None:
    """Three times killed with SIGKILL, each process goes on where the one before it was killed."""
    acknowledged: list[int] = []
    for start in (0, 1000, 2000):
        command = [sys.executable, "-c", WRITER, str(root), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged += [int(next(writer.stdout)) for _ in range(40)]
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout]
    spool = DirectorySpool(root)
    found = {r.entry: spool.read(r.ref) for r in records(spool)}
    assert found.keys() >= {numbered(n) for n in acknowledged}
    assert all(found[numbered(n)] == bytes([n % 251]) * 1500 for n in acknowledged)
    unfilled = [p for p in files(root, "active") if p.stat().st_mode & 0o200]
    assert len(unfilled) <= 2, "the segments of killed writers were filled on"


def test_a_released_segment_is_written_again_under_another_generation(
    spool: DirectorySpool, sealed: SpoolRef, root: Path
) -> None:
    place = files(root, "sealed")[0].stat().st_ino
    spool.release(sealed.segment)
    spool.release(sealed.segment)
    (ready,) = files(root, "ready")
    assert (ready.stat().st_ino, ready.stat().st_size) == (place, SEGMENT_BYTES)
    assert list(spool.records(LISTENER, {}, everything=True)) == []
    ref = spool.append(numbered(1), [b"new"])
    assert files(root, "active")[0].stat().st_ino == place
    assert ref.segment != sealed.segment
    assert entries(spool) == [numbered(1)]
    with pytest.raises(SpoolReadError, match="does not hold"):
        spool.read(sealed)


def test_records_of_the_earlier_life_never_come_back(spool: DirectorySpool) -> None:
    """Records of equal length lie exactly where the old ones' heads are."""
    for n in range(16):
        name = spool.append(numbered(n)).segment
    spool.archive(name)
    spool.release(name)
    for n in range(16):
        assert entries(spool) == [numbered(100 + k) for k in range(n)]
        spool.append(numbered(100 + n))


def test_a_segment_that_is_being_read_is_not_recycled(spool: DirectorySpool, sealed: SpoolRef, root: Path) -> None:
    with spool.open(sealed) as file:
        spool.release(sealed.segment)
        assert files(root, "ready") == files(root, "sealed") == [], "removed; its reader still has it"
        fill(spool, 1)
        assert file.read() == b"old" * SEGMENT_BYTES
    with pytest.raises(SpoolReadError):
        spool.open(sealed)


def test_no_more_segments_are_kept_than_are_used(spool: DirectorySpool, root: Path) -> None:
    names = [fill(spool, n) for n in range(4)]
    for name in names:
        spool.archive(name)
    for name in names:
        spool.release(name)
    assert (len(files(root, "ready")), len(files(root, "sealed"))) == (2, 0)


def test_an_oversized_segment_is_cut_when_it_is_recycled(spool: DirectorySpool, root: Path) -> None:
    ref = spool.append(ENTRY, [bytes(20 * SEGMENT_BYTES)])
    spool.archive(ref.segment)
    spool.release(ref.segment)
    assert [p.stat().st_size for p in files(root, "ready")] == [SEGMENT_BYTES]


def test_an_orphans_segments_are_closed_and_end_removed(root: Path, another: DirectorySpool) -> None:
    gone = DirectorySpool(root, "gone")
    gone.append(numbered(1))
    (root / "gone" / "ready" / layout.new_name()).touch()
    another.adopt("gone")
    assert [r.entry for r in another.records("gone", {})] == [numbered(1)], "not while its writer lives"
    gone.close()
    another.adopt("gone")
    *_, full = another.records("gone", {})
    assert full.entry == SegmentFull()
    another.archive(full.ref.segment)
    another.release(full.ref.segment)
    assert [files(root, state, "gone") for state in layout.STATES] == [[], [], []]
    back = DirectorySpool(root, "gone")
    assert back.append(numbered(2)).segment != full.ref.segment, "what was closed for good is not gone on with"
    back.close()


def test_a_ready_segment_that_another_process_took_is_passed_by(
    spool: DirectorySpool, sealed: SpoolRef, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was listed, opened and locked after the other had filled and closed it, so that it was gone from its place."""
    spool.release(sealed.segment)
    locked = layout.locked

    def late(fd: int) -> bool:
        (ready,) = files(root, "ready") or [None]
        if ready:
            ready.rename(root / LISTENER / "sealed" / ready.name)
        return locked(fd)

    monkeypatch.setattr(layout, "locked", late)
    spool.append(ENTRY)
    assert len(files(root, "active")) == len(files(root, "sealed")) == 1


def test_a_segment_that_cannot_be_read_is_not_gone_on_with(
    spool: DirectorySpool, another: DirectorySpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = spool.append(numbered(1))
    spool.close()
    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", failing)
        with pytest.raises(SpoolReadError, match="cannot be read"):
            list(another.records(LISTENER, {}))
        assert another.append(numbered(2)).segment != first.segment
    assert entries(another) == [numbered(1), numbered(2)]


@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_segment_that_cannot_be_made_is_said(
    spool: DirectorySpool, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """And leaves nothing, however often it is tried."""
    with monkeypatch.context() as broken, pytest.raises(SpoolWriteError, match="Input/output error"):
        broken.setattr(os, call, failing)
        spool.append(ENTRY)
    assert not list((root / LISTENER / "active").iterdir())
    spool.append(ENTRY)
    assert entries(spool) == [ENTRY]


@pytest.mark.parametrize("operation", ["archive", "release", "sync"])
def test_a_disk_that_fails_at_the_index_is_said(
    spool: DirectorySpool, sealed: SpoolRef, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    name = fill(spool) if operation == "archive" else sealed.segment
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, failing)
    with pytest.raises(SpoolWriteError, match="Input/output error"):
        getattr(spool, operation)(name)


def test_names_of_listeners_are_folders_and_nothing_else(root: Path, spool: DirectorySpool) -> None:
    (root / "lost+found").mkdir()
    (root / "old.seg").touch()
    assert spool.listeners() == {LISTENER}
    for name in ("../x", "a/b", ".hidden", "a" * 101, "a b"):
        with pytest.raises(ConfigurationError, match="listener name"):
            DirectorySpool(root, name)
    with pytest.raises(SpoolReadError):
        spool.read(SpoolRef("../../etc/passwd", 0, 10))


def test_the_state_counts_segments_and_bytes(spool: DirectorySpool, sealed: SpoolRef, root: Path) -> None:
    assert spool.read(sealed)
    names = [fill(spool, n) for n in range(3)]
    spool.archive(names[0])
    spool.archive(names[1])
    spool.release(names[1])
    state = spool.state()
    assert (state.ready, state.active, state.sealed) == (1, 1, 2)
    assert state.bytes_used == sum(path.stat().st_size for path in root.rglob("*.seg"))
    assert state.free_bytes


def test_its_folders_are_its_owners_only(spool: DirectorySpool, root: Path) -> None:
    spool.append(ENTRY)
    assert {path.stat().st_mode & 0o077 for path in (root, *root.rglob("*"))} == {0}


def failing(*_: object) -> None:
    raise OSError(5, "Input/output error")


def test_a_head_that_is_being_written_is_not_counted(spool: DirectorySpool, root: Path) -> None:
    spool.append(ENTRY, [b"x" * 100])
    (path,) = files(root, "active")
    half = struct.pack("<8sQIQ", record.MAGIC, layout.generation_of(path), 10, 0).ljust(record.HEAD_BYTES, b"\0")
    with path.open("r+b") as segment:
        segment.seek(record.HEAD_BYTES + 100)
        segment.write(half)
    assert list(spool.waiting(LISTENER, {})) == [ENTRY]
