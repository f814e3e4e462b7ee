"""The format of a record, and how whole records are told from everything else in a segment.

A record is a head of fixed size and a payload::

    magic 8 bytes | generation u64 | header length u32 | payload length u64 | CRC-32 u32 | header (JSON), zeros to 1024 | payload

all little endian. The CRC covers every byte of the record but itself: the payload first, so that the head of a payload that
came in parts can be written last. The size of the head is fixed, so that its payload's place is known before it is.

The generation is the segment's: 64 random bits in its name, new whenever the segment is used again. What lies behind the
tail is never taken for a record: neither old records of a recycled segment, nor rests of a payload that was given up, even
where a sender made them look like one, since no sender knows the number.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from zlib_ng.zlib_ng import crc32

from egfr_dls.spool.contract import AssociationEnded, Bytes, CommitmentRequested, Entry
from egfr_dls.study import ReceivedInstance

MAGIC: Final = b"EGFRDLS2"
HEAD_BYTES: Final = 1024
_LEADING = struct.Struct("<8sQIQ")  # magic, generation, header length, payload length
_CRC = struct.Struct("<I")
_HEADER_AT = _LEADING.size + _CRC.size
MAX_HEADER_BYTES: Final = HEAD_BYTES - _HEADER_AT
_CHUNK_BYTES = 1 << 20

KINDS: Final[dict[str, type[Entry]]] = {
    "instance": ReceivedInstance,
    "ended": AssociationEnded,
    "commitment": CommitmentRequested,
}
_KIND_OF = {entry_type: (kind, tuple(entry_type.__dataclass_fields__)) for kind, entry_type in KINDS.items()}
_TIMES = ("received_at", "ended_at")
_to_json = json.JSONEncoder(separators=(",", ":"), default=datetime.isoformat).encode


@dataclass(frozen=True, slots=True)
class Found:
    """A whole record in a file: its JSON header, and where its payload lies (bytes)."""

    header: bytes
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the next record starts."""
        return self.offset + self.length


def head(entry: Entry, generation: int, payload_bytes: int, payload_crc: int) -> bytes:
    """Return the head of a record whose payload has this length and CRC-32.

    Raises
    ------
    ValueError
        the entry does not fit: its fields are longer than DICOM allows (UI 64, AE 16, CS 16 characters, PS3.5 6.2)
    """
    kind, names = _KIND_OF[type(entry)]
    facts = {"kind": kind}
    for name in names:
        facts[name] = getattr(entry, name)
    header = _to_json(facts).encode()
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"record header of {len(header)} bytes; needed: {MAX_HEADER_BYTES} at most")
    leading = _LEADING.pack(MAGIC, generation, len(header), payload_bytes)
    padded = header.ljust(MAX_HEADER_BYTES, b"\0")
    return leading + _CRC.pack(crc32(padded, crc32(leading, payload_crc))) + padded


def decode(header: bytes) -> Entry:
    """Return the entry of a record's header."""
    facts: dict[str, Any] = json.loads(header)
    for name in _TIMES:
        if name in facts:
            facts[name] = datetime.fromisoformat(facts[name])
    return KINDS[facts.pop("kind")](**facts)


def is_head(found: Bytes, generation: int, payload_bytes: int) -> bool:
    """Return whether this is the head of a record of this generation whose payload has this length."""
    if len(found) < _HEADER_AT:
        return False
    magic, its_generation, _header_bytes, length = _LEADING.unpack_from(found)
    return bool(magic == MAGIC and its_generation == generation and length == payload_bytes)


def header_in(found: bytes) -> bytes:
    """Return the JSON header of a head."""
    return found[_HEADER_AT : _HEADER_AT + _LEADING.unpack_from(found)[2]]


def is_intact(found: bytes, payload_crc: int) -> bool:
    """Return whether this head and a payload of this CRC-32 are what was written."""
    whole = crc32(found[_HEADER_AT:], crc32(found[: _LEADING.size], payload_crc))
    return _CRC.pack(whole) == found[_LEADING.size : _HEADER_AT]


def whole_records(fd: int, generation: int, start: int) -> Iterator[Found]:
    """Yield the records of a segment from an offset on, up to the first place where none is whole."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while found := _record_at(fd, generation, start, buffer):
        yield found
        start = found.end


def headers(fd: int, generation: int, start: int) -> Iterator[bytes]:
    """Yield the JSON headers of a segment's records from an offset on, payloads unread: the last may be of a torn one."""
    while found := _head_at(fd, generation, start):
        block, length = found
        yield header_in(block)
        start += HEAD_BYTES + length


def tail(fd: int, generation: int) -> int:
    """Return where the last whole record of a segment ends."""
    end = 0
    for found in whole_records(fd, generation, 0):
        end = found.end
    return end


def _record_at(fd: int, generation: int, at: int, buffer: memoryview) -> Found | None:
    found = _head_at(fd, generation, at)
    if found is None:
        return None
    block, length = found
    crc = _payload_crc(fd, at + HEAD_BYTES, length, buffer)
    if crc is None or not is_intact(block, crc):
        return None
    return Found(header_in(block), at + HEAD_BYTES, length)


def _head_at(fd: int, generation: int, at: int) -> tuple[bytes, int] | None:
    """Return what looks like a head of this generation, and the length of its payload; whether it is intact, the CRC says."""
    block = os.pread(fd, HEAD_BYTES, at)
    if len(block) < HEAD_BYTES:
        return None
    magic, its_generation, header_bytes, length = _LEADING.unpack_from(block)
    if magic != MAGIC or its_generation != generation or header_bytes > MAX_HEADER_BYTES:
        return None
    return block, length


def _payload_crc(fd: int, at: int, length: int, buffer: memoryview) -> int | None:
    """Return the CRC-32 of a payload; None where the file ends before it does."""
    crc, end = 0, at + length
    if length > len(buffer) and end > os.fstat(fd).st_size:  # what is shorter is found to end when it is read
        return None
    while at < end:
        read = os.preadv(fd, [buffer[: end - at]], at)
        if not read:
            return None
        crc = crc32(buffer[:read], crc)
        at += read
    return crc
