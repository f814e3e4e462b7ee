"""When a destination that could not be reached is called again: after a second, then doubling to ten."""

from __future__ import annotations

import random

from egfr_dls.job_loop import Clock

POLL_SECONDS = 1.0  # for what becomes due by time alone
PROBE_FIRST_SECONDS = 1.0
PROBE_CAP_SECONDS = 10.0  # a destination that was down is tried at least this often


class Probing:
    """The calls of one thread to one destination."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failures = 0  # in a row
        self.at = 0.0  # UTC seconds

    def is_early(self) -> bool:
        """Whether the next call has to wait."""
        return self._clock() < self.at

    def reached(self) -> None:
        """Note that the destination answers."""
        self.failures = 0

    def failed(self) -> None:
        """Note that it could not be reached."""
        self.failures += 1
        doubled: float = PROBE_FIRST_SECONDS * 2.0 ** min(self.failures - 1, 20)
        self.at = self._clock() + min(doubled, PROBE_CAP_SECONDS) * random.uniform(0.8, 1.0)

    def not_before(self, at: float) -> None:
        """Let the next call wait until a time."""
        self.at = at

    def pause(self) -> float:
        """Return how long to wait for a change of the ledger at most, seconds."""
        until_probe = self.at - self._clock()
        return min(POLL_SECONDS, until_probe) if until_probe > 0 else POLL_SECONDS
