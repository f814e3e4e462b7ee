"""What every engine of the spool promises (``egfr_dls/spool/contract.py``), asked of each of them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO, IOBase
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from pydicom import dcmread

from egfr_dls.errors import ConfigurationError
from egfr_dls.spool import DirectorySpool, SegmentFull, Spool, SpooledRecord, SpoolReadError
from egfr_dls.study import SpoolRef
from tests.builders import ct_slices, to_part10
from tests.egfr_dls.spool.entries import ENDED, ENTRY, LISTENER, REQUESTED, SEGMENT_BYTES, numbered
from tests.egfr_dls.spool.object_storage import BUCKET, S3Server

SEGMENT_RECORDS = 4
FILLING = bytes(SEGMENT_BYTES // SEGMENT_RECORDS)  # so many of these fill a segment, in either engine
LONG = os.urandom(12 * 1024 * 1024)  # three parts of an object


@dataclass
class Engine:
    """One storage, and spools in it."""

    open: Callable[[str | None], Spool]

    def listener(self, name: str = LISTENER) -> Spool:
        """Open a spool that is written in a listener's name."""
        return self.open(name)


@pytest.fixture(params=["directory", "s3"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each engine, empty."""
    opened: list[Spool] = []
    make = _in_bucket(request.getfixturevalue("s3_server")) if request.param == "s3" else _in_folder(tmp_path / "spool")

    def remembered(name: str | None) -> Spool:
        opened.append(make(name))
        return opened[-1]

    yield Engine(remembered)
    for spool in opened:
        spool.close()


def _in_folder(folder: Path) -> Callable[[str | None], Spool]:
    return lambda name: DirectorySpool(folder, name, segment_bytes=SEGMENT_BYTES)


def _in_bucket(server: S3Server) -> Callable[[str | None], Spool]:
    from egfr_dls.spool.bucket import Bucket
    from egfr_dls.spool.s3 import S3Spool

    prefix = f"tests/{uuid4()}"

    def make(name: str | None) -> Spool:
        spool = S3Spool(Bucket(BUCKET, server.endpoint, prefix), name, segment_records=SEGMENT_RECORDS)
        spool.check("this")
        return spool

    return make


def told(spool: Spool, since: dict[str, int] | None = None, *, everything: bool = False) -> list[SpooledRecord]:
    """Return what ``records`` yields."""
    return list(spool.records(LISTENER, since or {}, everything=everything))


def entries(spool: Spool, *, everything: bool = False) -> list[object]:
    """Return the entries that are recorded."""
    return [r.entry for r in told(spool, everything=everything) if not isinstance(r.entry, SegmentFull)]


def filled(spool: Spool) -> str:
    """Fill a segment and return its name."""
    refs = [spool.append(numbered(n), [FILLING]) for n in range(SEGMENT_RECORDS)]
    assert len({ref.segment for ref in refs}) == 1
    return refs[0].segment


@pytest.mark.parametrize("entry", [ENTRY, ENDED, REQUESTED])
@pytest.mark.parametrize("sync", [True, False])
def test_what_was_appended_is_told_and_read(engine: Engine, entry: object, sync: bool) -> None:
    spool = engine.listener()
    ref = spool.append(entry, [b"abc", memoryview(b"def")], sync=sync)  # type: ignore[arg-type]
    [record] = told(engine.open(None))
    assert (record.entry, record.ref) == (entry, ref)
    assert ref.length == 6
    assert engine.open(None).read(ref) == b"abcdef"


@pytest.mark.parametrize("body", [b"", b"abc", LONG], ids=["empty", "short", "long"])
def test_a_payload_that_came_in_parts_is_the_whole(engine: Engine, body: bytes) -> None:
    spool = engine.listener()
    writer = spool.begin()
    buffer = bytearray(1 << 20)  # used again after each write, as a receiver does
    for at in range(0, len(body), len(buffer)):
        part = body[at : at + len(buffer)]
        buffer[: len(part)] = part
        writer.write([memoryview(buffer)[: len(part)]])
    ref = writer.commit(ENTRY)
    assert spool.read(ref) == body
    assert [(r.entry, r.ref) for r in told(spool)][:1] == [(ENTRY, ref)]
    assert entries(spool) == [ENTRY]


@pytest.mark.parametrize("body", [b"abc", LONG], ids=["short", "long"])
def test_nothing_exists_of_a_record_before_its_commit_or_after_it_was_given_up(engine: Engine, body: bytes) -> None:
    spool = engine.listener()
    writer = spool.begin()
    writer.write([body])
    assert told(spool) == []
    writer.discard()
    writer.discard()
    assert told(spool) == []
    spool.append(ENTRY, [b"x"])
    assert entries(spool) == [ENTRY]


def test_a_file_reads_as_its_bytes(engine: Engine) -> None:
    spool = engine.listener()
    with spool.open(spool.append(ENTRY, [LONG])) as file:
        assert file.read(132) == LONG[:132]
        file.seek(7_000_000)
        assert file.read(300_000) == LONG[7_000_000:7_300_000]
        file.seek(-5, os.SEEK_END)
        assert file.read() == LONG[-5:]
        assert file.read(1) == b""
        file.seek(0)
        assert file.read() == LONG


def test_an_instance_opens_as_pydicom_reads_it(engine: Engine) -> None:
    spool = engine.listener()
    ds = ct_slices(np.zeros((1, 64, 64), np.int16))[0]
    with spool.open(spool.append(ENTRY, [to_part10(ds)])) as file:
        assert dcmread(file, stop_before_pixels=True).SOPInstanceUID == ds.SOPInstanceUID


def test_payloads_come_in_the_order_that_was_asked(engine: Engine) -> None:
    spool = engine.listener()
    bodies = [bytes([n]) * (n * 100) for n in range(20)] + [LONG]
    refs = [spool.append(numbered(n), [body]) for n, body in enumerate(bodies)]
    assert [payload.readall() for payload in spool.payloads(reversed(refs))] == bodies[::-1]


def test_a_payload_is_read_in_pieces_and_again(engine: Engine) -> None:
    spool = engine.listener()
    ref = spool.append(ENTRY, [LONG])
    assert [_digest(payload) for payload in spool.payloads([ref])] == [_digest(BytesIO(LONG))]


def _digest(file: IOBase) -> str:
    """Return the digest of what is left of a file, then of all of it once more."""
    digest, buffer = hashlib.sha256(), bytearray(300_000)
    for _ in range(2):
        while count := file.readinto(buffer):  # type: ignore[attr-defined]  # both kinds have it
            digest.update(memoryview(buffer)[:count])
        file.seek(0)
    return digest.hexdigest()


def test_what_is_past_a_watermark_is_told_once(engine: Engine) -> None:
    spool = engine.listener()
    spool.append(numbered(1), [b"x"])
    marks = {r.ref.segment: r.end for r in told(spool)}
    assert told(spool, marks) == []
    spool.append(numbered(2), [b"y"])
    assert [r.entry for r in told(spool, marks)] == [numbered(2)]


def test_a_full_segment_is_told_until_it_is_archived_and_not_before(engine: Engine) -> None:
    spool = engine.listener()
    unfilled = spool.append(numbered(0), [FILLING]).segment
    with pytest.raises(ValueError, match="not full"):
        spool.archive(unfilled)
    for n in range(1, SEGMENT_RECORDS):
        spool.append(numbered(n), [FILLING])
    marks = {r.ref.segment: r.end for r in told(spool)}
    for _ in range(2):  # as after a crash between the two
        [full] = told(spool, marks)
        assert (full.entry, full.ref.segment, full.end) == (SegmentFull(), unfilled, marks[unfilled])
    spool.archive(unfilled)
    spool.archive(unfilled)
    assert told(spool) == []
    assert entries(spool, everything=True) == [numbered(n) for n in range(SEGMENT_RECORDS)]


def test_a_released_segment_is_gone(engine: Engine) -> None:
    spool = engine.listener()
    name = filled(spool)
    ref = told(spool)[0].ref
    spool.release(name)  # not archived: it stays
    assert spool.read(ref) == FILLING
    spool.archive(name)
    assert spool.read(ref) == FILLING
    spool.release(name)
    spool.release(name)
    assert told(spool, everything=True) == []
    for read in (spool.read, spool.open):
        with pytest.raises(SpoolReadError):
            read(ref)
    spool.append(ENTRY, [b"x"])
    assert entries(spool) == [ENTRY]


def test_what_a_listener_left_is_closed_by_who_adopts_it(engine: Engine) -> None:
    left = engine.listener("listener-gone")
    name = left.append(ENTRY, [b"x"]).segment
    left.close()
    heir = engine.listener()
    heir.adopt("listener-gone")
    assert [r.entry for r in heir.records("listener-gone", {})] == [ENTRY, SegmentFull()]
    heir.archive(name)
    heir.release(name)
    assert list(heir.records("listener-gone", {}, everything=True)) == []


def test_listeners_are_told_by_their_names_before_they_have_written(engine: Engine) -> None:
    for name in ("listener-1", "listener-2"):
        engine.listener(name)
    assert engine.open(None).listeners() == {"listener-1", "listener-2"}


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_a_listener_that_cannot_be_a_folder_is_refused(engine: Engine, name: str) -> None:
    spool = engine.open(None)
    with pytest.raises(ConfigurationError, match="listener name"):
        spool.adopt(name)


def test_a_restarted_listener_goes_on_beside_what_it_had(engine: Engine) -> None:
    first = engine.listener()
    first.append(numbered(1), [b"x"])
    first.close()
    second = engine.listener()
    second.append(numbered(2), [b"y"])
    assert entries(second) == [numbered(1), numbered(2)]


def test_a_spool_for_reading_writes_nothing(engine: Engine) -> None:
    spool = engine.open(None)
    for write in (lambda: spool.append(ENTRY), spool.begin):
        with pytest.raises(ValueError, match="for reading"):
            write()


def test_an_entry_that_does_not_fit_costs_only_itself(engine: Engine) -> None:
    spool = engine.listener()
    too_long = replace(ENTRY, sop_instance_uid="1" * 2000)
    with pytest.raises(ValueError, match="record header"):
        spool.append(too_long, [b"x"])
    writer = spool.begin()
    with pytest.raises(ValueError, match="record header"):
        writer.commit(too_long)
    writer.discard()
    spool.append(ENTRY, [b"x"])
    assert entries(spool) == [ENTRY]


@pytest.mark.parametrize(
    "ref",
    [
        SpoolRef(f"{LISTENER}/../../etc/passwd", 1024, 1),
        SpoolRef(f"{LISTENER}/0000000000000000-0000000000000000.seg", 1024, 1),
    ],
)
def test_what_is_not_there_is_said(engine: Engine, ref: SpoolRef) -> None:
    spool = engine.listener()
    for read in (spool.read, spool.open):
        with pytest.raises(SpoolReadError):
            read(ref)


def test_state_counts_segments_and_bytes(engine: Engine) -> None:
    spool = engine.listener()
    spool.archive(filled(spool))
    spool.append(ENTRY, [b"x"])
    state = engine.open(None).state()
    assert (state.active, state.sealed) == (1, 1)
    assert state.bytes_used >= SEGMENT_BYTES


def test_who_follows_eight_writers_by_watermarks_is_told_each_record_once(engine: Engine) -> None:
    spool, each = engine.listener(), 10
    threads = [
        threading.Thread(target=lambda k=k: [spool.append(numbered(100 * k + n), [b"x"]) for n in range(each)])  # type: ignore[misc]
        for k in range(8)
    ]
    seen: list[object] = []
    marks: dict[str, int] = {}

    def follow() -> None:
        for record in told(spool, marks):
            marks[record.ref.segment] = record.end
            if isinstance(record.entry, SegmentFull):
                spool.archive(record.ref.segment)
            else:
                seen.append(record.entry)

    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        follow()
    follow()
    wanted = [numbered(100 * k + n) for k in range(8) for n in range(each)]
    assert len(seen) == len(wanted)
    assert set(seen) == set(wanted)


def test_what_waits_is_told_by_heads_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = engine.listener()
    for entry in (numbered(0), numbered(1), ENDED):
        spool.append(entry, [] if entry is ENDED else [FILLING])
    first = told(spool)[0]
    marks = {first.ref.segment: first.end}
    monkeypatch.setattr("egfr_dls.spool.record._payload_crc", lambda *_: pytest.fail("a payload is read"))
    assert [e for e in spool.waiting(LISTENER, marks) if not isinstance(e, SegmentFull)] == [numbered(1), ENDED]
