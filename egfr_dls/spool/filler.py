"""Writes segments ahead in idle time: a sync costs about half where the file system need not note a file's growth.

A segment that is being filled lies in ``ready`` and is locked. One that could not be finished is as good as any other there,
only shorter: a writer may take it, the next filler goes on with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from egfr_dls.background import beside
from egfr_dls.spool import layout
from egfr_dls.spool.recycling import READY_SEGMENTS
from egfr_dls.telemetry import error_fields, get_logger

QUIET_SECONDS = 2.0  # nothing was appended for so long
TICK_SECONDS = 0.5
RETRY_SECONDS = 60.0
STEP_BYTES = 1 << 20  # written and synced at once: what an instance that arrives meanwhile waits for at most
_ZEROS = bytes(STEP_BYTES)


class Filler:
    """Keeps segments of one listener ready while nothing arrives.

    Parameters
    ----------
    ready
        the listener's ``ready`` folder
    quiet_seconds
        for how long nothing has been appended
    spare_bytes
        the disk's space that may be used
    """

    def __init__(
        self, ready: Path, segment_bytes: int, quiet_seconds: Callable[[], float], spare_bytes: Callable[[], int]
    ) -> None:
        self._ready = ready
        self._segment_bytes = segment_bytes
        self._quiet_seconds = quiet_seconds
        self._spare_bytes = spare_bytes
        self._stop = threading.Event()

    def running(self) -> AbstractContextManager[None]:
        """Fill in a thread."""
        return beside("filler", self._run, self._stop.set)

    def fill(self) -> None:
        """Fill what is missing; return early when something is appended."""
        with suppress(FileNotFoundError):  # taken by a writer meanwhile
            for path in layout.segments(self._ready):
                self._extend(path, os.O_RDWR)
        while self._may_go_on(self._segment_bytes) and len(layout.segments(self._ready)) < READY_SEGMENTS:
            self._extend(self._ready / layout.new_name(), os.O_RDWR | os.O_CREAT | os.O_EXCL)
            layout.sync_folder(self._ready)

    def _extend(self, path: Path, flags: int) -> None:
        with layout.opened(path, flags) as fd:
            size = os.fstat(fd).st_size
            while size < self._segment_bytes and self._may_go_on(STEP_BYTES) and layout.locked(fd):
                size += os.pwrite(fd, _ZEROS[: self._segment_bytes - size], size)
                os.fdatasync(fd)

    def _may_go_on(self, wanted_bytes: int) -> bool:
        return (
            not self._stop.is_set() and self._quiet_seconds() >= QUIET_SECONDS and self._spare_bytes() >= wanted_bytes
        )

    def _run(self) -> None:
        pause = TICK_SECONDS
        while not self._stop.wait(pause):
            pause = TICK_SECONDS
            try:
                self.fill()
            except OSError as error:  # only speed is lost; a disk that fails is said by whoever writes an instance
                get_logger().warning("segments_not_filled", **error_fields(error))
                pause = RETRY_SECONDS
