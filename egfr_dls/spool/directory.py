"""The spool: append-only segments in which a received instance is durable before the sender hears 0000H.

A segment is a file of records. A record is::

    magic 8 bytes | header length u32 | payload length u64 | CRC-32 u32 | header (JSON) | payload (a Part 10 file)

all little endian; the CRC covers lengths, header and payload. Header and payload are written by one call and synced by one
``fdatasync``. A torn tail is normal after a crash: reading stops at the first record that is not whole. The header is
the index row of the instance, so the ledger can be rebuilt from the spool alone.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.study import ReceivedInstance, SpoolRef

MAGIC = b"EGFRDLS1"
_FIXED = struct.Struct("<8sIQI")  # magic, header length, payload length, CRC-32
_LENGTHS = struct.Struct("<IQ")
SEGMENT_BYTES = 64 * 1024 * 1024  # a segment that has grown past this takes no more records
MAX_HEADER_BYTES = 64 * 1024


class SpoolWriteError(TemporaryFailureError):
    """Free space on the spool's disk, or mend it: an instance could not be made durable (the sender heard A700H)."""


@dataclass(frozen=True, slots=True)
class AssociationReleased:
    """A sender ended an association in order (A-RELEASE, PS3.8 7.2): what it meant to send has been sent."""

    association_id: str
    released_at: datetime


@dataclass(frozen=True, slots=True)
class SpooledRecord:
    """One record as read back: the entry, where its payload lies, and where the next record starts."""

    entry: ReceivedInstance | AssociationReleased
    ref: SpoolRef
    end: int  # offset of the next record in the segment, bytes


class Spool(Protocol):
    """Where received instances become durable."""

    def append(self, entry: ReceivedInstance | AssociationReleased, parts: Sequence[bytes]) -> SpoolRef:
        """Write one record; durable on return."""

    def read(self, ref: SpoolRef) -> bytes:
        """Return an instance's Part 10 bytes."""

    def records(self, since: Mapping[str, int]) -> Iterator[SpooledRecord]:
        """Yield every whole record past the given offset of each segment."""

    def sync(self, segment: str) -> None:
        """Make what ``records`` showed of a segment durable, also what its writer has not synced yet."""

    def free_bytes(self) -> int:
        """Return the space left, bytes."""


class DirectorySpool:
    """A spool in one local folder; each segment has one writer at a time, so appends run in parallel."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._idle: list[_Segment] = []
        self._lock = threading.Lock()
        self._made = 0

    def append(self, entry: ReceivedInstance | AssociationReleased, parts: Sequence[bytes]) -> SpoolRef:
        """Write one record and sync it.

        Raises
        ------
        SpoolWriteError
            the disk is full or failing; the segment is closed for good (after a failed sync its state is unknown)
        """
        segment = None
        try:
            segment = self._take()
            ref = segment.append(_header(entry), parts)
        except OSError as error:
            if segment is not None:
                segment.abandon()
            raise SpoolWriteError(f"spool write failed: {error.strerror}") from error
        self._put_back(segment)
        return ref

    def read(self, ref: SpoolRef) -> bytes:
        """Return an instance's Part 10 bytes (preamble, file meta, data set)."""
        with (self._folder / ref.segment).open("rb") as file:
            return os.pread(file.fileno(), ref.length, ref.offset)

    def records(self, since: Mapping[str, int]) -> Iterator[SpooledRecord]:
        """Yield every whole record past the given offset (bytes) of each segment, oldest segment first."""
        for path in sorted(self._folder.glob("*.seg")):
            try:
                yield from _scan(path, since.get(path.name, 0))
            except FileNotFoundError:  # an abandoned segment without records, removed since the folder was listed
                continue

    def sync(self, segment: str) -> None:
        """Sync a segment to the disk; cheap where its writer has done so."""
        with (self._folder / segment).open("rb") as file:
            os.fdatasync(file.fileno())

    def free_bytes(self) -> int:
        """Return the space left on the spool's disk for an ordinary user, bytes."""
        facts = os.statvfs(self._folder)
        return facts.f_bavail * facts.f_frsize

    def close(self) -> None:
        """Close the open segments."""
        with self._lock:
            for segment in self._idle:
                segment.close()
            self._idle.clear()

    def _take(self) -> _Segment:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            self._made += 1
            name = f"{time.time_ns():016x}-{os.getpid():x}-{self._made:x}.seg"
        return _Segment(self._folder, name)

    def _put_back(self, segment: _Segment) -> None:
        if segment.size >= self._segment_bytes:
            segment.close()
            return
        with self._lock:
            self._idle.append(segment)


class _Segment:
    """One file that this process appends to."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.size = 0
        self._path = folder / name
        self._fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)  # the name itself must survive a power loss
        finally:
            os.close(directory)

    def append(self, header: bytes, parts: Sequence[bytes]) -> SpoolRef:
        length = sum(len(p) for p in parts)
        crc = zlib.crc32(header, zlib.crc32(_LENGTHS.pack(len(header), length)))
        for part in parts:
            crc = zlib.crc32(part, crc)
        fixed = _FIXED.pack(MAGIC, len(header), length, crc)
        try:
            self._write_all([fixed, header, *parts])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self.size)  # a full disk gets the torn record's space back
            raise
        os.fdatasync(self._fd)
        offset = self.size + len(fixed) + len(header)
        self.size = offset + length
        return SpoolRef(self.name, offset, length)

    def _write_all(self, parts: list[bytes]) -> None:
        expected = sum(len(p) for p in parts)
        written = os.writev(self._fd, parts)
        if written < expected:  # a short write (signal, almost full disk): finish it or learn why not
            rest = memoryview(b"".join(parts))[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def close(self) -> None:
        os.close(self._fd)

    def abandon(self) -> None:
        """Close for good after a failure; without records, remove the file too."""
        with suppress(OSError):
            self.close()
        if self.size == 0:
            with suppress(OSError):
                self._path.unlink()


def _header(entry: ReceivedInstance | AssociationReleased) -> bytes:
    facts = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(entry).items()}
    kind = "instance" if isinstance(entry, ReceivedInstance) else "released"
    return json.dumps({"kind": kind, **facts}).encode()


def _entry(header: bytes) -> ReceivedInstance | AssociationReleased:
    facts: dict[str, Any] = json.loads(header)
    if facts.pop("kind") == "instance":
        facts["received_at"] = datetime.fromisoformat(facts["received_at"])
        return ReceivedInstance(**facts)
    facts["released_at"] = datetime.fromisoformat(facts["released_at"])
    return AssociationReleased(**facts)


def _scan(path: Path, start: int) -> Iterator[SpooledRecord]:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size <= start:
            return
        file.seek(start)
        while len(fixed := file.read(_FIXED.size)) == _FIXED.size:
            magic, header_length, length, crc = _FIXED.unpack(fixed)
            if magic != MAGIC or header_length > MAX_HEADER_BYTES:
                return
            offset = file.tell() + header_length
            if offset + length > os.fstat(file.fileno()).st_size:
                return  # torn tail, or a record that is being written now
            header = file.read(header_length)
            found = zlib.crc32(header, zlib.crc32(_LENGTHS.pack(header_length, length)))
            if zlib.crc32(file.read(length), found) != crc:
                return
            yield SpooledRecord(_entry(header), SpoolRef(path.name, offset, length), offset + length)
