"""A segment of any bytes, records of any entries with any damage, and any order of a spool's operations.

The first byte of an input says which of the three.
"""

from __future__ import annotations

import os
import random
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

from egfr_dls.spool import AssociationEnded, DirectorySpool, Entry, SegmentFull, layout, record
from egfr_dls.spool.contract import RecordWriter
from egfr_dls.study import SpoolRef
from tests.egfr_dls.spool.entries import ENDED, ENTRY, REQUESTED

GENERATION = 0x0123456789ABCDEF
HEADER = struct.Struct("<8sQIQI")  # magic, generation, header length, payload length, CRC-32
SEGMENT_BYTES = 4096
LISTENER = "fuzz"


def check(encoded: bytes) -> None:
    """Run one of the three; raises AssertionError."""
    if encoded:
        (_scan_anything, _scan_damaged, _operate)[encoded[0] % 3](encoded[1:])


@contextmanager
def in_file(content: bytes) -> Iterator[int]:
    """Hold bytes in a file that lies in memory."""
    fd = os.memfd_create("segment")
    try:
        os.write(fd, content)
        yield fd
    finally:
        os.close(fd)


# --- any bytes ---


def _scan_anything(content: bytes) -> None:
    """Only what is whole is found; the CRCs of what looks like records are made right, else nothing ever would be."""
    content = _with_right_crcs(content)
    with in_file(content) as fd:
        found = list(record.whole_records(fd, GENERATION, 0))
        assert record.tail(fd, GENERATION) == (found[-1].end if found else 0)
    at = 0
    for one in found:
        magic, generation, header_bytes, length, crc = HEADER.unpack_from(content, at)
        assert (magic, generation) == (record.MAGIC, GENERATION)
        assert (one.offset, one.length, len(one.header)) == (at + record.HEAD_BYTES, length, header_bytes)
        assert one.end <= len(content)
        assert crc == _crc(content, at, length)
        at = one.end


def _with_right_crcs(content: bytes) -> bytes:
    mended, at = bytearray(content), content.find(record.MAGIC)
    while at >= 0 and at + record.HEAD_BYTES <= len(mended):
        length = HEADER.unpack_from(mended, at)[3]
        if at + record.HEAD_BYTES + length <= len(mended):
            struct.pack_into("<I", mended, at + 28, _crc(bytes(mended), at, length))
        at = mended.find(record.MAGIC, at + 1)
    return bytes(mended)


def _crc(content: bytes, at: int, length: int) -> int:
    """Return what the CRC of a record covers: payload, then the head without the CRC itself."""
    payload = content[at + record.HEAD_BYTES : at + record.HEAD_BYTES + length]
    return zlib.crc32(payload + content[at : at + 28] + content[at + 32 : at + record.HEAD_BYTES])


# --- any entries, any damage ---


def _scan_damaged(script: bytes) -> None:
    """Records before the damage are found as they were written, the others are not."""
    chosen = random.Random(script[:8])
    texts = script[8:].decode("latin-1")
    content, ends, written = b"", [], []
    for _ in range(chosen.randint(1, 4)):
        entry, payload = _any_entry(chosen, texts), chosen.randbytes(chosen.choice((0, 1, 100, 3000)))
        try:
            content += record.head(entry, GENERATION, len(payload), zlib.crc32(payload)) + payload
        except ValueError:
            assert sum(len(str(getattr(entry, f.name))) for f in fields(entry)) > 100, "a plain entry must fit"
            continue
        ends.append(len(content))
        written.append((entry, payload))
    damaged = _damaged(content, chosen)
    at = next(
        (n for n, (a, b) in enumerate(zip(content, damaged, strict=False)) if a != b), min(len(content), len(damaged))
    )
    with in_file(damaged) as fd:
        found = list(record.whole_records(fd, GENERATION, 0))
    assert [one.end for one in found] == [end for end in ends if end <= at]
    for one, (entry, payload) in zip(found, written, strict=False):
        assert record.decode(one.header) == entry
        assert damaged[one.offset : one.end] == payload


def _any_entry(chosen: random.Random, texts: str) -> Entry:
    entry = chosen.choice((ENTRY, ENDED, REQUESTED))
    if isinstance(entry, AssociationEnded):
        return replace(entry, association_id=texts[:64], released=chosen.random() < 0.5)
    places = [chosen.randrange(len(texts) + 1) for _ in range(3)]
    return replace(
        entry,
        calling_ae_title=texts[places[0] :][:16],
        called_ae_title=texts[places[1] :][:16],
        peer_address=texts[places[2] :][:64],
    )


def _damaged(content: bytes, chosen: random.Random) -> bytes:
    """Return the content whole, or cut, with zeros behind it or not, or with a byte changed."""
    at, how = chosen.randrange(len(content) + 1), chosen.randrange(4)
    if how == 0:
        return content
    if how == 1:
        return (
            content[:at] + bytes([content[at] ^ chosen.randrange(1, 256)]) + content[at + 1 :]
            if at < len(content)
            else content
        )
    return content[:at] + bytes(5000 * (how - 2))


# --- any order of operations ---


class _Operations:
    """A spool, and what it must hold: entries and payloads by their reference."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spool = self._opened()
        self._writer: RecordWriter | None = None
        self._payload = b""
        self._number = 0
        self._kept: dict[SpoolRef, tuple[Entry, bytes]] = {}

    def run(self, script: bytes) -> None:
        steps = (
            *(self._append, self._begin, self._write, self._commit, self._discard),
            *(self._restart, self._archive, self._release, self._look, self._tear),
        )
        try:
            for step, argument in zip(script[::2], script[1::2], strict=False):
                steps[step % len(steps)](argument)
            self._look(0)
        finally:
            self._spool.close()

    def _opened(self) -> DirectorySpool:
        return DirectorySpool(self._folder, LISTENER, segment_bytes=SEGMENT_BYTES)

    def _entry(self) -> Entry:
        self._number += 1
        return replace(ENTRY, sop_instance_uid=f"1.2.{self._number}")

    def _append(self, argument: int) -> None:
        entry, payload = self._entry(), bytes([argument]) * (argument * 20)
        self._kept[self._spool.append(entry, [payload[:7], payload[7:]], sync=argument % 2 == 0)] = entry, payload

    def _begin(self, _argument: int) -> None:
        if self._writer is None:
            self._writer, self._payload = self._spool.begin(), b""

    def _write(self, argument: int) -> None:
        if self._writer is not None:
            part = bytes([argument]) * (argument * 20)
            self._writer.write([part])
            self._payload += part

    def _commit(self, _argument: int) -> None:
        if self._writer is not None:
            entry = self._entry()
            self._kept[self._writer.commit(entry)] = entry, self._payload
            self._writer = None

    def _discard(self, _argument: int) -> None:
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _restart(self, argument: int) -> None:
        """Go on in another process: after a close, or a crash with a record under way."""
        if argument % 2:
            self._discard(0)
        self._spool.close()
        if self._writer is not None:  # its segment stays locked as long as its descriptor is open
            self._writer._segment.close()  # type: ignore[attr-defined]
            self._writer = None
        self._spool = self._opened()

    def _archive(self, _argument: int) -> None:
        for found in list(self._spool.records(LISTENER, {})):
            if isinstance(found.entry, SegmentFull):
                self._spool.archive(found.ref.segment)

    def _release(self, argument: int) -> None:
        """Release a sealed segment, whose records are then gone."""
        sealed = layout.segments(self._folder / LISTENER / layout.SEALED)
        if sealed:
            name = layout.segment_name(sealed[argument % len(sealed)])
            self._spool.release(name)
            self._kept = {ref: kept for ref, kept in self._kept.items() if ref.segment != name}

    def _tear(self, argument: int) -> None:
        """Leave garbage behind the tail of the segments, as a crash does."""
        if self._writer is not None:
            return
        ends: dict[str, int] = {}
        for ref in self._kept:
            ends[ref.segment] = max(ends.get(ref.segment, 0), ref.offset + ref.length)
        for path in layout.segments(self._folder / LISTENER / layout.ACTIVE):
            if path.stat().st_mode & 0o777 == layout.OPEN_MODE:
                with path.open("r+b") as file:
                    file.seek(ends.get(layout.segment_name(path), 0))
                    file.write((record.MAGIC + bytes([argument]) * 50)[: argument % 60])

    def _look(self, _argument: int) -> None:
        found = self._spool.records(LISTENER, {}, everything=True)
        shown = {one.ref: one.entry for one in found if not isinstance(one.entry, SegmentFull)}
        assert shown == {ref: entry for ref, (entry, _) in self._kept.items()}
        for ref, (_, payload) in self._kept.items():
            assert self._spool.read(ref) == payload


def _operate(script: bytes) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        _Operations(Path(folder)).run(script[:200])


def seeds() -> Iterator[bytes]:
    """Yield segments, and scripts."""
    one = record.head(ENTRY, GENERATION, 5, zlib.crc32(b"abcde")) + b"abcde"
    yield b"\0" + one + one + bytes(50)
    for number in range(8):
        yield b"\1" + bytes([number] * 8) + b'SCANNER \x01\xff"\\ 127.0.0.1'
        yield b"\2" + random.Random(number).randbytes(60)
