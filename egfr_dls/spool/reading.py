"""Reading payloads: only what is asked for, and never the bytes of another generation.

Bytes are read by calls, not through a memory map: a disk that fails, or a file that was cut, is then an error that can be
told, and not the end of the process (SIGBUS).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from egfr_dls.spool import layout, record
from egfr_dls.spool.contract import SpoolReadError
from egfr_dls.study import SpoolRef

_BUFFER_BYTES = 16 * 1024  # most headers in one call


def open_payload(root: Path, ref: SpoolRef) -> io.BufferedReader:
    """Open a record's payload; a sealed segment is not recycled before this is closed."""
    return io.BufferedReader(_Payload(_descriptor(root, ref), ref), _BUFFER_BYTES)


def open_payloads(root: Path, refs: Iterable[SpoolRef]) -> Iterator[io.RawIOBase]:
    """Yield the payload of each record, to be read before the next; a segment is opened once for those in a row."""
    for _segment, its in groupby(refs, key=lambda ref: ref.segment):
        rest = iter(its)
        first = next(rest)
        with _Payload(_descriptor(root, first), first) as payload:
            yield payload
            for ref in rest:
                payload.turn_to(ref)
                yield payload


def read_payload(root: Path, ref: SpoolRef) -> bytes:
    """Return a record's payload."""
    with open_payload(root, ref) as payload:
        data = payload.read(ref.length)
    if len(data) != ref.length:
        raise SpoolReadError(f"spool segment {ref.segment} ends within an instance at {ref.offset}")
    return data


class _Payload(io.RawIOBase):
    """The payload of one record as a file; owns the descriptor."""

    def __init__(self, fd: int, ref: SpoolRef) -> None:
        self._fd = fd
        self._ref = ref
        self._at = 0
        self.name = ref.segment  # pydicom asks every BufferedReader for its name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")[: max(0, self._ref.length - self._at)]
        if not wanted:
            return 0
        with _told(self._ref):
            count = os.preadv(self._fd, [wanted], self._ref.offset + self._at)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ref.length}[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}")
        self._at = start + offset
        return self._at

    def turn_to(self, ref: SpoolRef) -> None:
        """Be another record's payload, of the same segment."""
        self._ref, self._at = ref, 0

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


def _descriptor(root: Path, ref: SpoolRef) -> int:
    for path in layout.candidates(root, ref.segment):
        with _told(ref):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            if _holds(fd, path, ref):
                return fd
            os.close(fd)
    raise SpoolReadError(f"spool segment {ref.segment} does not hold an instance at {ref.offset}")


def _holds(fd: int, path: Path, ref: SpoolRef) -> bool:
    """Lock a sealed segment against recycling, then look whether it was recycled before."""
    if path.parent.name == layout.SEALED and not layout.locked(fd, shared=True):
        return False
    if ref.offset < record.HEAD_BYTES:
        return False
    head = os.pread(fd, record.HEAD_BYTES, ref.offset - record.HEAD_BYTES)
    return record.is_head(head, layout.generation_of(path), ref.length)


@contextmanager
def _told(ref: SpoolRef) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolReadError(f"spool segment {ref.segment} cannot be read: {error.strerror}") from error
