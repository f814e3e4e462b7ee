"""The segments in object storage that one process writes: taken for a record, put back after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from egfr_dls.spool import layout
from egfr_dls.spool.bucket import Bucket, BucketError
from egfr_dls.spool.contract import SpoolWriteError
from egfr_dls.spool.objects import CLOSED, age_seconds, record_key, state_key

BEGIN_SECONDS: Final = 3600.0  # after so long no record is begun in a segment,
END_SECONDS: Final = 12 * 3600.0  # after so long none is finished,
CLOSED_SECONDS: Final = 24 * 3600.0  # and after so long readers take it for closed


class Lane:
    """A segment that this process alone writes, one record at a time."""

    def __init__(self, listener: str) -> None:
        name = layout.new_name()
        self.segment = f"{listener}/{name}"
        self.generation = layout.generation_of(Path(name))
        self.numbers = 0  # that were given out

    def next_number(self) -> int:
        """Return the number of a new record; it is given out once, whatever becomes of the record."""
        self.numbers += 1
        return self.numbers - 1

    def key(self, number: int) -> str:
        """Return the key of one of its records."""
        return record_key(self.segment, number)

    def require_open(self) -> None:
        """Raise SpoolWriteError where readers may soon take the segment for closed."""
        if age_seconds(self.segment) > END_SECONDS:
            raise SpoolWriteError("spool write failed: the record took half a day")


class Lanes:
    """Gives each record a segment that nobody else is writing: the one used last, or a new one."""

    def __init__(self, bucket: Bucket, listener: str, segment_records: int) -> None:
        self._bucket = bucket
        self._listener = listener
        self._segment_records = segment_records
        self._idle: list[Lane] = []
        self._lock = threading.Lock()

    def take(self) -> Lane:
        """Return a lane for one record, to be put back."""
        with self._lock:
            over = [lane for lane in self._idle if self._is_over(lane)]
            self._idle = [lane for lane in self._idle if lane not in over]
            taken = self._idle.pop() if self._idle else None
        self._close(over)
        return taken or Lane(self._listener)

    def put_back(self, lane: Lane) -> None:
        """Keep a lane for the next record, or close it for good."""
        if self._is_over(lane):
            self._close([lane])
            return
        with self._lock:
            self._idle.append(lane)

    @contextmanager
    def one(self) -> Iterator[Lane]:
        """Lend a lane."""
        lane = self.take()
        try:
            yield lane
        finally:
            self.put_back(lane)

    def close(self) -> None:
        """Close for good what is idle: the next process makes segments of its own."""
        with self._lock:
            idle, self._idle = self._idle, []
        self._close(idle)

    def _is_over(self, lane: Lane) -> bool:
        return lane.numbers >= self._segment_records or age_seconds(lane.segment) > BEGIN_SECONDS

    def _close(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            with suppress(BucketError):  # then it is closed by its age
                self._bucket.put(state_key(lane.segment, CLOSED), b"")
