"""The segments that one process writes: taken for a record, put back after it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from egfr_dls.spool import layout, record
from egfr_dls.spool.segment import Segment


class SegmentPool:
    """Gives each record a segment that nobody else is writing.

    In this order: one that this process has open (the last used first), one that an earlier process left unfilled, a ready
    one, a new one. Nothing is opened before the first record, so a process may fork until then.
    """

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._idle: list[Segment] = []
        self._left: Iterator[Segment] | None = None
        self._lock = threading.Lock()

    def take(self) -> Segment:
        """Return a segment for one record."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._left is None:
                self._left = self._unfilled()
            segment = next(self._left, None)
        return segment or self._ready() or self._new()

    def put_back(self, segment: Segment) -> None:
        """Keep a segment for the next record, or close it for good if it is full."""
        if segment.tail >= self._segment_bytes:
            segment.finish()
            return
        with self._lock:
            self._idle.append(segment)

    def close(self) -> None:
        """Close what is open; the next process goes on at the tails."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _unfilled(self) -> Iterator[Segment]:
        for path in layout.segments(self._folder / layout.ACTIVE):
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
        for path in layout.segments(self._folder / layout.READY):
            if (fd := _own(path)) is None:
                continue
            target = self._folder / layout.ACTIVE / path.name
            try:
                layout.move(path, target)
            except FileNotFoundError:  # another process has taken, filled and closed it meanwhile
                os.close(fd)
                continue
            return Segment(target, fd, 0)
        return None

    def _new(self) -> Segment:
        path = self._folder / layout.ACTIVE / layout.new_name()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, layout.OPEN_MODE)
        layout.locked(fd)
        layout.sync_folder(path.parent)  # the name must survive a power loss as the records do
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
