"""Waiting until somebody has written to the ledger: another thread, another process, an operator's command."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

LOOK_SECONDS = 0.02


class Changes:
    """A waiter of one thread, with a connection of its own: SQLite counts for it the commits of all the others.

    ``PRAGMA data_version`` reads the index of the log in shared memory (8 microseconds). It also counts now and then without
    a change (a check-point), so what wakes up looks at the tables for itself.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None
        self._seen = self._version()

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Return when the ledger was changed since the last return, when ``stop`` is set, or after ``seconds``.

        What was committed after the last return wakes the next call, so that nothing is missed by who looks in between.
        One that is written to all the time returns every ``LOOK_SECONDS``. A database that cannot be asked has not changed.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not stop.wait(min(LOOK_SECONDS, left)):
            version = self._version()
            if version != self._seen:
                self._seen = version
                return

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _version(self) -> int | None:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._file, timeout=0.0)
            (version,) = self._connection.execute("PRAGMA data_version").fetchall()[0]
        except sqlite3.OperationalError:
            return self._seen
        return int(version)
