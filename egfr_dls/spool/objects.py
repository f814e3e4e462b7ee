"""Keys of the spool's objects, and reading their payloads: only what is asked for."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from zlib_ng.zlib_ng import crc32

from egfr_dls.spool import layout, record
from egfr_dls.spool.bucket import Bucket, BucketError
from egfr_dls.spool.contract import SpoolReadError
from egfr_dls.study import SpoolRef

READ_AHEAD_BYTES: Final = 64 * 1024  # most headers in one request
_AT_ONCE = 8  # payloads that are fetched together, each PART_BYTES at most
STATES: Final = "states"
CLOSED: Final = ".closed"  # nothing follows in this segment
SEALED: Final = ".sealed"  # and all of it is indexed


def record_key(segment: str, number: int) -> str:
    """Return the key of a segment's record; keys sort by number."""
    return f"{segment}/{number:012d}"


def number_of(key: str) -> int:
    """Return the number in a record's key."""
    return int(key.rpartition("/")[2])


def state_key(segment: str, state: str) -> str:
    """Return the key of the empty object that says so of a segment."""
    listener, _, name = segment.partition("/")
    return f"{listener}/{STATES}/{name}{state}"


def age_seconds(segment: str) -> float:
    """Return for how long a segment has been there, by the clock of its writer and ours."""
    return time.time() - int(segment.rpartition("/")[2].partition("-")[0], 16) / 1e9


def open_payload(bucket: Bucket, ref: SpoolRef) -> io.BufferedReader:
    """Open a record's payload, whose first bytes are fetched at once."""
    file: io.BufferedReader = io.BufferedReader(_Payload(bucket, ref), READ_AHEAD_BYTES)
    file.peek(1)
    return file


def open_payloads(bucket: Bucket, refs: Iterable[SpoolRef]) -> Iterator[io.RawIOBase]:
    """Yield the payload of each record, to be read before the next; some of them are fetched at a time."""
    left = iter(refs)
    with ThreadPoolExecutor(_AT_ONCE, "spool-read") as readers:
        while some := [_Payload(bucket, ref) for ref in islice(left, _AT_ONCE)]:
            list(readers.map(_Payload.prefetch, some))
            yield from some


def read_payload(bucket: Bucket, ref: SpoolRef) -> bytes:
    """Return a record's payload, checked."""
    file = _Payload(bucket, ref)
    whole = b"".join(file.pieces(0, ref.length + record.HEAD_BYTES))
    payload, head = memoryview(whole)[: ref.length], whole[ref.length :]
    generation = layout.generation_of(Path(ref.segment))
    if not record.is_head(head, generation, ref.length) or not record.is_intact(head, crc32(payload)):
        raise SpoolReadError(f"spool object {file.key} is not what was stored")
    return bytes(payload)


class _Payload(io.RawIOBase):
    """The payload of one record as a file."""

    def __init__(self, bucket: Bucket, ref: SpoolRef) -> None:
        if not layout.is_segment(ref.segment.partition("/")[2]):
            raise SpoolReadError(f"{ref.segment} names no segment of the spool")
        self.key = self.name = record_key(ref.segment, ref.offset)  # pydicom asks every BufferedReader for its name
        self._bucket = bucket
        self._length = ref.length
        self._at = 0
        self._ahead, self._ahead_at = memoryview(b""), 0  # fetched already, and where it begins
        self._streams = False  # read from front to end

    def prefetch(self) -> None:
        """Fetch what comes next before it is asked for, as much as a request gives: for reading from front to end."""
        self._streams = True
        self._ahead, self._ahead_at = next(self.pieces(self._at, self._length), memoryview(b"")), self._at

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """Yield the object's bytes, a request at a time."""
        while start < end:
            with told():
                piece = self._bucket.get(self.key, start, end)
            if piece is None:
                raise SpoolReadError(f"spool object {self.key} is not there")
            if not piece:
                raise SpoolReadError(f"spool object {self.key} ends within an instance")
            yield piece
            start += len(piece)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")[: max(0, self._length - self._at)]
        if wanted and self._streams and not self._fetched():
            self.prefetch()
        piece = self._fetched()[: len(wanted)]
        if not piece:
            piece = next(self.pieces(self._at, self._at + len(wanted)), piece)
        wanted[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        ahead = self._fetched()
        rest = b"".join([ahead, *self.pieces(self._at + len(ahead), self._length)])
        self._at = max(self._at, self._length)
        return rest

    def _fetched(self) -> memoryview:
        start = self._at - self._ahead_at
        return self._ahead[start:] if start >= 0 else memoryview(b"")

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}")
        self._at = start + offset
        return self._at


@contextmanager
def told() -> Iterator[None]:
    """Say a failed request as a failure to read."""
    try:
        yield
    except BucketError as error:
        raise SpoolReadError(f"spool: {error}") from error
