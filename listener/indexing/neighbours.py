"""Other listeners on the same storage root: one that is gone leaves a folder in the spool, and somebody has to index it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from egfr_dls.errors import ConfigurationError
from egfr_dls.ledger import Ledger, listeners
from egfr_dls.spool import SpoolIndex
from egfr_dls.telemetry import get_logger
from listener.indexing.intake import Intake

RENEW_SECONDS = listeners.LEASE_SECONDS / 4
WAIT_SECONDS = 5.0  # for what is left of a listener of this name that was killed
POLL_SECONDS = 0.05


class Neighbours:
    """Says that this listener is alive, and adopts those that are not.

    A lease that ran out is only the sign: whoever has the lock of the name is alive, however late its lease.
    """

    def __init__(self, ledger: Ledger, spool: SpoolIndex, intake: Intake, root: Path, listener: str) -> None:
        self._ledger = ledger
        self._spool = spool
        self._intake = intake
        self._root = root
        self._listener = listener
        self._adopted: set[str] = set()  # wholly gone through once, whatever the ledger knew of them
        self._due = 0.0

    def apply(self, now: float) -> float:
        """Renew the lease and look for orphans when that is due; return when it is due next, UTC seconds."""
        if now < self._due:
            return self._due
        with self._ledger.begin() as tx:
            listeners.renew(tx, self._listener, now)
            alive = listeners.alive(tx, now)
        for orphan in sorted(self._spool.listeners() - alive):
            with named(self._root, orphan) as ours:
                if ours:
                    self._adopt(orphan)
        self._due = now + RENEW_SECONDS
        return self._due

    def _adopt(self, orphan: str) -> None:
        count = self._intake.adopt(orphan, everything=orphan not in self._adopted)
        self._adopted.add(orphan)
        if count:
            get_logger().warning("listener_adopted", count=count)


@contextmanager
def named(root: Path, listener: str) -> Iterator[bool]:
    """Hold the lock of a listener's name, if nobody has it; every process of the listener holds it while it lives."""
    folder = root / "listeners"
    folder.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(folder / f"{listener}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _locked(fd)
    finally:
        os.close(fd)


@contextmanager
def alone(root: Path, listener: str) -> Iterator[None]:
    """Hold the lock of this listener's name; wait a moment for the processes of one that was killed.

    Raises
    ------
    ConfigurationError
        another listener of this name works on the root
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with named(root, listener) as ours:
            if ours:
                yield
                return
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"storage.root {root}: another listener named {listener} works on it; needed: a name of its own (--worker)"
            )
        time.sleep(POLL_SECONDS)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
