"""The promise of 0000H: what was appended is read back whole, whatever happens to the tail or the disk."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egfr_dls.spool import AssociationReleased, DirectorySpool, SpooledRecord, SpoolWriteError
from egfr_dls.study import ReceivedInstance

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENTRY = ReceivedInstance(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3",
    study_instance_uid="1.2",
    series_instance_uid="1.2.1",
    modality="CT",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    calling_ae_title="SCANNER",
    called_ae_title="EGFR_DLS",
    peer_address="127.0.0.1",
    association_id="a",
    received_at=AT,
)
RELEASED = AssociationReleased("a", AT)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[DirectorySpool]:
    """A spool with small segments."""
    made = DirectorySpool(tmp_path / "spool", segment_bytes=4096)
    yield made
    made.close()


def numbered(n: int) -> ReceivedInstance:
    return replace(ENTRY, sop_instance_uid=f"1.2.3.{n}")


def all_records(spool: DirectorySpool) -> list[SpooledRecord]:
    return list(spool.records({}))


def test_a_record_is_read_back_as_it_was_written(spool: DirectorySpool) -> None:
    ref = spool.append(ENTRY, [b"preamble", b"", b"data set"])
    assert spool.read(ref) == b"preambledata set"
    assert [(r.entry, r.ref) for r in all_records(spool)] == [(ENTRY, ref)]


def test_a_release_is_a_record_without_payload(spool: DirectorySpool) -> None:
    spool.append(RELEASED, [])
    (record,) = all_records(spool)
    assert record.entry == RELEASED
    assert record.ref.length == 0


def test_reading_goes_on_past_a_watermark(spool: DirectorySpool) -> None:
    for n in range(3):
        spool.append(numbered(n), [b"x"])
    first = all_records(spool)[0]
    assert [r.entry for r in spool.records({first.ref.segment: first.end})] == [numbered(1), numbered(2)]
    last = all_records(spool)[-1]
    assert list(spool.records({last.ref.segment: last.end})) == []


def test_a_full_segment_is_followed_by_a_new_one(spool: DirectorySpool) -> None:
    refs = [spool.append(numbered(n), [bytes(3000)]) for n in range(4)]
    assert len({ref.segment for ref in refs}) == 2
    assert [r.entry for r in all_records(spool)] == [numbered(n) for n in range(4)]


def test_a_new_spool_never_writes_into_an_old_segment(tmp_path: Path) -> None:
    """After a crash the old tail may be torn: records behind it would never be found."""
    first, second = DirectorySpool(tmp_path), DirectorySpool(tmp_path)
    a, b = first.append(numbered(1), [b"a"]), second.append(numbered(2), [b"b"])
    assert a.segment != b.segment
    assert [r.entry for r in second.records({})] == [numbered(1), numbered(2)]
    first.close()
    second.close()


def test_the_tail_may_be_cut_at_every_byte(tmp_path: Path) -> None:
    """A power loss leaves a torn tail; every record before it stays intact and nothing else is shown."""
    spool = DirectorySpool(tmp_path)
    for n in range(3):
        spool.append(numbered(n), [bytes([n]) * 50])
    spool.close()
    (path,) = tmp_path.glob("*.seg")
    whole, ends = path.read_bytes(), [r.end for r in all_records(spool)]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        found = all_records(spool)
        assert [r.entry for r in found] == [numbered(n) for n in range(3) if ends[n] <= size]
        assert [spool.read(r.ref) for r in found] == [bytes([n]) * 50 for n in range(len(found))]


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_a_damaged_byte_is_never_shown(tmp_path_factory: pytest.TempPathFactory, at: int, mask: int) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = DirectorySpool(folder)
    for n in range(3):
        spool.append(numbered(n), [bytes([n]) * 200])
    spool.close()
    (path,) = folder.glob("*.seg")
    ends = [r.end for r in all_records(spool)]
    damaged = bytearray(path.read_bytes())
    at %= len(damaged)
    damaged[at] ^= mask
    path.write_bytes(damaged)
    assert [r.entry for r in all_records(spool)] == [numbered(n) for n in range(3) if ends[n] <= at]


@given(parts=st.lists(st.binary(max_size=300), max_size=6))
def test_any_payload_survives(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    spool = DirectorySpool(tmp_path_factory.mktemp("spool"))
    ref = spool.append(ENTRY, parts)
    assert spool.read(ref) == b"".join(parts)
    spool.close()


def test_the_bytes_are_synced_before_the_call_returns(spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    writev, fdatasync = os.writev, os.fdatasync
    monkeypatch.setattr(os, "writev", lambda *a: (calls.append("write"), writev(*a))[1])
    monkeypatch.setattr(os, "fdatasync", lambda *a: (calls.append("sync"), fdatasync(*a))[1])
    spool.append(ENTRY, [b"x"])
    assert calls == ["write", "sync"]


@pytest.mark.parametrize("call", ["writev", "fdatasync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_said_and_the_next_record_goes_elsewhere(
    spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    before = spool.append(numbered(1), [b"before"])

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(SpoolWriteError, match=os.strerror(code)):
            spool.append(numbered(2), [b"lost"])
    after = spool.append(numbered(3), [b"after"])
    assert after.segment != before.segment
    assert {r.entry for r in all_records(spool)} >= {numbered(1), numbered(3)}
    assert spool.read(before) == b"before"


def test_a_short_write_is_finished(spool: DirectorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "writev", lambda fd, parts: os.write(fd, b"".join(parts)[:70]))
    ref = spool.append(ENTRY, [b"a" * 100, b"b" * 100])
    assert spool.read(ref) == b"a" * 100 + b"b" * 100
    assert len(all_records(spool)) == 1


def test_a_really_full_file_system_leaves_no_torn_tail(spool: DirectorySpool, tmp_path: Path) -> None:
    """The file size limit of the process stands for the disk: the kernel writes a part and then fails."""
    spool.append(numbered(1), [b"small"])
    with file_size_limit(3000), pytest.raises(SpoolWriteError):
        spool.append(numbered(2), [bytes(5000)])
    with file_size_limit(3000), pytest.raises(SpoolWriteError):
        spool.append(numbered(3), [bytes(5000)])
    assert [p.stat().st_size < 1000 for p in (tmp_path / "spool").glob("*.seg")] == [True]
    spool.append(numbered(4), [bytes(5000)])
    assert [r.entry for r in all_records(spool)] == [numbered(1), numbered(4)]


def test_parallel_writers_lose_nothing(spool: DirectorySpool) -> None:
    def write(worker: int) -> None:
        for n in range(20):
            spool.append(numbered(worker * 100 + n), [bytes([worker]) * 500])

    threads = [threading.Thread(target=write, args=(w,)) for w in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = all_records(spool)
    assert {r.entry for r in found} == {numbered(w * 100 + n) for w in range(8) for n in range(20)}
    assert all(len(set(spool.read(r.ref))) == 1 for r in found)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow past ``size`` bytes."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
