"""A record whose payload arrives in parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from zlib_ng.zlib_ng import crc32

from egfr_dls.spool.contract import Bytes, Entry, SpoolWriteError
from egfr_dls.spool.pool import SegmentPool
from egfr_dls.spool.segment import Segment, write_failed
from egfr_dls.study import SpoolRef


class StreamedRecord:
    """Writes a payload behind the place of its head, and the head last; used by one thread."""

    def __init__(self, pool: SegmentPool) -> None:
        self._pool = pool
        self._segment: Segment | None = pool.take()
        self._length = self._crc = 0

    def write(self, parts: Sequence[Bytes]) -> None:
        """Append to the payload; not yet durable. The parts may be overwritten after the return."""
        segment = self._open()
        try:
            segment.write(parts, segment.payload_at + self._length)
        except OSError as error:
            raise self._failed(segment, error) from error
        for part in parts:
            self._length += len(part)
            self._crc = crc32(part, self._crc)

    def commit(self, entry: Entry) -> SpoolRef:
        """Write the head and sync; durable on return."""
        segment = self._open()
        try:
            ref = segment.commit(entry, self._length, self._crc)
        except OSError as error:
            raise self._failed(segment, error) from error
        self._over(segment)
        return ref

    def discard(self) -> None:
        """Give up the record and its space; after ``commit`` or a failure there is nothing to give up."""
        if self._segment is not None:
            segment = self._segment
            with suppress(OSError):
                segment.rewind()
            self._over(segment)

    def _open(self) -> Segment:
        if self._segment is None:
            raise SpoolWriteError("spool write failed: the record is over")
        return self._segment

    def _over(self, segment: Segment) -> None:
        self._segment = None
        self._pool.put_back(segment)

    def _failed(self, segment: Segment, error: OSError) -> SpoolWriteError:
        self._segment = None
        self._pool.give_up(segment)
        return write_failed(error)
