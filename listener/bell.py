"""A bell between threads and processes: who rings never waits, who listens is woken, and hears when nobody is left to ring."""

from __future__ import annotations

import math
import os
import select
import threading
from contextlib import suppress


class Bell:
    """A pipe. Several rings before the listener listens count once; a process forked from this one shares it."""

    def __init__(self) -> None:
        self._heard, self._rope = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Wake the listener."""
        with self._lock, suppress(BlockingIOError):  # full of rings: it will wake
            if self._rope >= 0:
                os.write(self._rope, b"\0")

    def wait(self, seconds: float) -> bool:
        """Return when the bell was rung or after ``seconds``; False when all who could ring have let go."""
        poll = select.poll()
        poll.register(self._heard, select.POLLIN)
        poll.poll(math.ceil(seconds * 1000))
        try:
            return bool(os.read(self._heard, 65536))
        except BlockingIOError:
            return True

    def let_go(self) -> None:
        """Ring no more from this process; a second call does nothing."""
        with self._lock:
            if self._rope >= 0:
                os.close(self._rope)
                self._rope = -1

    def close(self) -> None:
        """Close both ends."""
        self.let_go()
        os.close(self._heard)
