"""Says an event that repeats once in a while, with how often it happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

KEYS = 1024


class Sparingly:
    """Counts events of equal key and says one of them in ``seconds``: 500 bad connections are not 500 lines of a log."""

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[Hashable, tuple[float, int]] = {}  # said when; not said since

    def count(self, key: Hashable) -> int:
        """Return how many events the line that is to be written now stands for; 0: write none."""
        now = self._clock()
        with self._lock:
            said_at, unsaid = self._seen.get(key, (now - self._seconds, 0))
            if now - said_at < self._seconds:
                self._seen[key] = (said_at, unsaid + 1)
                return 0
            if len(self._seen) >= KEYS:
                self._forget(now)
            self._seen[key] = (now, 0)
            return unsaid + 1

    def _forget(self, now: float) -> None:
        """Keep memory bounded, whatever the number of callers."""
        self._seen = {key: seen for key, seen in self._seen.items() if now - seen[0] < self._seconds}
        if len(self._seen) >= KEYS:
            self._seen.clear()
