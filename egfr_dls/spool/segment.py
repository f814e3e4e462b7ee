"""One segment as its only writer sees it: records at the tail, each synced before the next begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from zlib_ng.zlib_ng import crc32

from egfr_dls.spool import layout, record
from egfr_dls.spool.contract import Bytes, Entry, SpoolWriteError
from egfr_dls.study import SpoolRef

_IOV_MAX = os.sysconf("SC_IOV_MAX")


class Segment:
    """A file that this process alone may write (it holds the lock through ``fd``).

    Parameters
    ----------
    path
        where it lies, in its listener's ``active``
    tail
        where the next record goes, bytes
    """

    def __init__(self, path: Path, fd: int, tail: int) -> None:
        self._path = path
        self._name = layout.segment_name(path)
        self._generation = layout.generation_of(path)
        self._fd = fd
        self._written = os.fstat(fd).st_size  # before we came: zeros, or old records
        self.tail = tail

    @property
    def payload_at(self) -> int:
        """Where the payload of the next record goes, bytes."""
        return self.tail + record.HEAD_BYTES

    def append(self, entry: Entry, parts: Sequence[Bytes], *, sync: bool) -> SpoolRef:
        """Write a whole record at the tail with one call."""
        length = crc = 0
        for part in parts:
            length += len(part)
            crc = crc32(part, crc)
        head = record.head(entry, self._generation, length, crc)
        _write(self._fd, [head, *parts], self.tail)
        return self._written_to(self.payload_at, length, sync=sync)

    def write(self, parts: Sequence[Bytes], offset: int) -> None:
        """Write a part of the next record's payload; not durable, and no record yet."""
        _write(self._fd, parts, offset)

    def commit(self, entry: Entry, length: int, crc: int) -> SpoolRef:
        """Write the head before a payload that is there, and make the record durable."""
        _write(self._fd, [record.head(entry, self._generation, length, crc)], self.tail)
        return self._written_to(self.payload_at, length, sync=True)

    def rewind(self) -> None:
        """Give back what a payload that was given up took behind the end of the file."""
        if os.fstat(self._fd).st_size > (kept := max(self._written, self.tail)):
            os.ftruncate(self._fd, kept)

    def finish(self) -> None:
        """Close for good: nothing will follow the last record. (Where that cannot be noted, a later writer adds one more.)"""
        with suppress(OSError):
            os.fchmod(self._fd, layout.CLOSED_MODE)
        self.close()

    def abandon(self) -> None:
        """Close for good after a failed write or sync; cut off what is no record, as far as the disk still does it."""
        with suppress(OSError):
            os.fchmod(self._fd, layout.CLOSED_MODE)
        with suppress(OSError):
            if self.tail:
                os.ftruncate(self._fd, self.tail)
            else:
                self._path.unlink()
        self.close()

    def close(self) -> None:
        """Close; a later writer may go on at the tail."""
        with suppress(OSError):
            os.close(self._fd)

    def _written_to(self, offset: int, length: int, *, sync: bool) -> SpoolRef:
        if sync:
            os.fdatasync(self._fd)
        self.tail = offset + length
        return SpoolRef(self._name, offset, length)


def write_failed(error: OSError) -> SpoolWriteError:
    """Return what the receiver is told."""
    return SpoolWriteError(f"spool write failed: {error.strerror}")


def _write(fd: int, parts: Sequence[Bytes], offset: int) -> None:
    for first in range(0, len(parts), _IOV_MAX):
        batch = parts[first : first + _IOV_MAX]
        expected = sum(map(len, batch))
        written = os.pwritev(fd, batch, offset)
        if written < expected:  # a signal, an almost full disk, more than 2 GiB: finish it or learn why not
            rest = memoryview(b"".join(batch))
            while written < expected:
                written += os.pwrite(fd, rest[written:], offset + written)
        offset += expected
