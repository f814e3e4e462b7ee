"""The promise of 0000H: synced before the call returns, and a disk that fails is said and never trusted again."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from egfr_dls.spool import DirectorySpool, SpoolWriteError
from tests.egfr_dls.spool.entries import ENTRY, LISTENER, SEGMENT_BYTES, entries, files, numbered, records


def appended(spool: DirectorySpool, n: int, body: bytes) -> None:
    """Write a record with one call."""
    spool.append(numbered(n), [body])


def streamed(spool: DirectorySpool, n: int, body: bytes) -> None:
    """Write a record in two parts."""
    writer = spool.begin()
    writer.write([body[:5]])
    writer.write([body[5:]])
    writer.commit(numbered(n))


BOTH_WAYS = pytest.mark.parametrize("write", [appended, streamed])
Write = Callable[[DirectorySpool, int, bytes], None]


@BOTH_WAYS
def test_the_bytes_are_synced_before_the_call_returns(
    spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    write(spool, 0, b"")  # the segment is there
    calls: list[str] = []
    pwritev, fdatasync = os.pwritev, os.fdatasync
    monkeypatch.setattr(os, "pwritev", lambda *a: (calls.append("write"), pwritev(*a))[1])
    monkeypatch.setattr(os, "fdatasync", lambda *a: (calls.append("sync"), fdatasync(*a))[1])
    write(spool, 1, b"x" * 10)
    assert calls[-2:] == ["write", "sync"]
    assert calls.count("sync") == 1
    if write is appended:
        assert calls == ["write", "sync"], "an instance that fits the buffer costs one write and one sync"


def test_the_name_of_a_segment_is_synced_before_its_first_record(
    spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(
            os, name, lambda fd, name=name: calls.append(f"{name} {Path(f'/proc/self/fd/{fd}').readlink()}")
        )
    ref = spool.append(ENTRY, [b"x"])
    assert [call.split("/")[-1] for call in calls] == ["active", ref.segment.split("/")[1]]


def test_what_need_not_be_synced_is_not(spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(numbered(1))
    monkeypatch.setattr(os, "fdatasync", lambda _fd: pytest.fail("synced"))
    spool.append(numbered(2), sync=False)
    assert entries(spool) == [numbered(1), numbered(2)]


def test_nothing_of_a_streamed_record_is_shown_before_its_commit(spool: DirectorySpool) -> None:
    writer = spool.begin()
    buffer = bytearray(b"first")
    writer.write([buffer])
    buffer[:] = b"other"  # the receive buffer is used again
    assert entries(spool) == []
    writer.write([buffer, b"!"])
    assert entries(spool) == []
    ref = writer.commit(ENTRY)
    assert (entries(spool), spool.read(ref)) == ([ENTRY], b"firstother!")


def test_records_that_are_written_at_once_lie_in_different_segments(spool: DirectorySpool) -> None:
    writers = [spool.begin() for _ in range(3)]
    for n, writer in enumerate(writers):
        writer.write([bytes([n])])
    spool.append(numbered(9))
    refs = [writer.commit(numbered(n)) for n, writer in enumerate(writers)]
    assert len({ref.segment for ref in refs}) == 3
    assert [spool.read(ref) for ref in refs] == [b"\0", b"\1", b"\2"]


@BOTH_WAYS
@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_said_and_the_segment_is_never_used_again(
    spool: DirectorySpool, root: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, write: Write
) -> None:
    write(spool, 1, b"before")

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(SpoolWriteError, match=os.strerror(code)):
            write(spool, 2, b"never acknowledged")
    (failed,) = files(root, "active")
    assert failed.stat().st_size == records(spool)[0].end, "cut off at the tail"
    write(spool, 3, b"after")
    spool.close()
    again = DirectorySpool(root, LISTENER)
    write(again, 4, b"by the next process")
    again.close()
    assert failed.stat().st_size == records(spool)[0].end
    assert entries(spool) == [numbered(1), numbered(3), numbered(4)]
    assert spool.read(records(spool)[0].ref) == b"before"


def test_a_stream_that_failed_is_over(spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = spool.begin()

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwritev", fail)
        with pytest.raises(SpoolWriteError):
            writer.write([b"x"])
    with pytest.raises(SpoolWriteError, match="over"):
        writer.write([b"x"])
    with pytest.raises(SpoolWriteError, match="over"):
        writer.commit(ENTRY)
    writer.discard()
    assert entries(spool) == []


def test_a_short_write_is_finished(spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, at: os.pwrite(fd, b"".join(parts)[:1100], at))
    ref = spool.append(ENTRY, [b"a" * 100, b"b" * 100])
    assert spool.read(ref) == b"a" * 100 + b"b" * 100
    assert entries(spool) == [ENTRY]


@BOTH_WAYS
def test_a_really_full_file_system_leaves_no_torn_tail(spool: DirectorySpool, root: Path, write: Write) -> None:
    """The file size limit of the process stands for the disk: the kernel writes a part and then fails."""
    write(spool, 1, b"small")
    for n in (2, 3):
        with file_size_limit(3000), pytest.raises(SpoolWriteError):
            write(spool, n, bytes(5000))
    assert [p.stat().st_size < 2000 for p in files(root, "active")] == [True], "nothing is left of what failed"
    write(spool, 4, bytes(5000))
    assert entries(spool) == [numbered(1), numbered(4)]


def test_a_payload_that_was_given_up_gives_its_space_back(spool: DirectorySpool, root: Path) -> None:
    spool.append(numbered(1), [b"x"])
    size = files(root, "active")[0].stat().st_size
    writer = spool.begin()
    writer.write([bytes(10 * SEGMENT_BYTES)])
    writer.discard()
    writer.discard()
    assert [p.stat().st_size for p in files(root, "active")] == [size]


def test_a_record_longer_than_a_segment_fills_one(spool: DirectorySpool) -> None:
    writer = spool.begin()
    for n in range(40):
        writer.write([bytes([n]) * 1024])
    long = writer.commit(numbered(1))
    assert spool.append(numbered(2)).segment != long.segment
    assert spool.read(long)[::1024] == bytes(range(40))


def test_parallel_writers_lose_nothing(spool: DirectorySpool) -> None:
    def work(worker: int) -> None:
        for n in range(20):
            (appended, streamed)[n % 2](spool, worker * 100 + n, bytes([worker]) * 1500)

    threads = [threading.Thread(target=work, args=(w,)) for w in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(entries(spool)) == {numbered(w * 100 + n) for w in range(8) for n in range(20)}
    assert all(len(set(spool.read(r.ref))) == 1 for r in records(spool))


def test_a_spool_that_was_opened_for_reading_writes_nothing(root: Path) -> None:
    reader = DirectorySpool(root)
    with pytest.raises(ValueError, match="name a listener"):
        reader.append(ENTRY)
    with pytest.raises(ValueError, match="name a listener"):
        reader.begin()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow past ``size`` bytes."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
