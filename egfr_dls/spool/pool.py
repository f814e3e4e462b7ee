"""The segments that one process writes: taken for a record, put back after it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from egfr_dls.spool import layout, record
from egfr_dls.spool.segment import Segment, write_failed


class SegmentPool:
    """Gives each record a segment that nobody else is writing.

    In this order: one that this process has open (the last used first), one that an earlier process left unfilled, a ready
    one, a new one. Nothing is opened before the first record, so a process may fork until then.
    """

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        self.ready = folder / layout.READY
        self._active = folder / layout.ACTIVE
        self._segment_bytes = segment_bytes
        self._idle: list[Segment] = []
        self._left = self._unfilled()  # looks when it is first asked
        self._scanning = threading.Lock()
        self._lock = threading.Lock()
        self._taken = 0
        self._last = time.monotonic()

    def take(self) -> Segment:
        """Return a segment for one record, to be put back or given up.

        Raises
        ------
        SpoolWriteError
            none can be made
        """
        with self._lock:
            self._taken += 1
            segment = self._idle.pop() if self._idle else None
        try:
            return segment or self._left_unfilled() or self._ready() or self._new()
        except OSError as error:
            self._over()
            raise write_failed(error) from error

    def put_back(self, segment: Segment) -> None:
        """Keep a segment for the next record, or close it for good if it is full."""
        full = segment.tail >= self._segment_bytes
        if full:
            segment.finish()
        self._over(None if full else segment)

    def give_up(self, segment: Segment) -> None:
        """Close a segment for good after a failure."""
        segment.abandon()
        self._over()

    def quiet_seconds(self) -> float:
        """Return for how long no record was begun or written, here or (their files say) in the listener's other processes."""
        with self._lock:
            here = 0.0 if self._taken else time.monotonic() - self._last
        return min(here, time.time() - max(self._written_at(), default=0.0))

    def close(self) -> None:
        """Close what is open; the next process goes on at the tails."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _written_at(self) -> Iterator[float]:
        for path in layout.segments(self._active):
            with suppress(FileNotFoundError):  # archived meanwhile
                yield path.stat().st_mtime

    def _over(self, idle: Segment | None = None) -> None:
        with self._lock:
            self._taken -= 1
            self._last = time.monotonic()
            if idle:
                self._idle.append(idle)

    def _left_unfilled(self) -> Segment | None:
        with self._scanning:
            return next(self._left, None)

    def _unfilled(self) -> Iterator[Segment]:
        for path in layout.segments(self._active):
            if (fd := _own(path)) is None:
                continue
            try:
                tail = None if layout.is_closed(fd) else record.tail(fd, layout.generation_of(path))
            except OSError:  # unreadable: left as it is, for its readers to say so
                tail = None
            if tail is None:
                os.close(fd)
            else:
                yield Segment(path, fd, tail)

    def _ready(self) -> Segment | None:
        for path in layout.segments(self.ready):
            if (fd := _own(path)) is None:
                continue
            target = self._active / path.name
            try:
                layout.move(path, target)
            except FileNotFoundError:  # another process has taken, filled and closed it meanwhile
                os.close(fd)
                continue
            except OSError:
                os.close(fd)
                raise
            return Segment(target, fd, 0)
        return None

    def _new(self) -> Segment:
        path = self._active / layout.new_name()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, layout.OPEN_MODE)
        try:
            layout.locked(fd)
            layout.sync_folder(path.parent)  # the name must survive a power loss as the records do
        except OSError:
            os.close(fd)
            with suppress(OSError):  # each further attempt would leave one more
                path.unlink()
            raise
        return Segment(path, fd, 0)


def _own(path: Path) -> int | None:
    """Open a segment for writing, alone; None if it is gone or another process has it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return None
    if layout.locked(fd):
        return fd
    os.close(fd)
    return None
