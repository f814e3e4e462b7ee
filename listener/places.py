"""The places of open associations: one table for all receiver processes of a listener, in memory that they share."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from listener.status import Rejection

_ENTRY_BYTES = 16
_FREE = bytes(_ENTRY_BYTES)


class Places:
    """Counts the associations that are open, in all and of each peer; made before the receivers are forked.

    Each place holds a digest of the peer that has taken it. A receiver that dies takes the listener with it (``crew.py``), so
    nobody has to give back what a dead one held. What it may have held is the lock, and the kernel frees that: those that are
    left can drain.
    """

    def __init__(self, in_all: int, of_one_peer: int) -> None:
        self._of_one_peer = of_one_peer
        self._file = os.memfd_create("places")
        os.ftruncate(self._file, in_all * _ENTRY_BYTES)
        self._table = mmap.mmap(self._file, in_all * _ENTRY_BYTES)
        self._threads = threading.Lock()
        self._held: dict[str, int] = {}  # by this process: association -> where its entry begins

    def take(self, association_id: str, peer: tuple[str, str]) -> Rejection | None:
        """Take a place for an association of a peer (calling AE title, address), or say why there is none."""
        entry = hashlib.blake2b("\0".join(peer).encode(), digest_size=_ENTRY_BYTES).digest()
        with self._alone():
            entries = [self._table[at : at + _ENTRY_BYTES] for at in range(0, len(self._table), _ENTRY_BYTES)]
            if _FREE not in entries:
                return Rejection.TOO_MANY
            if entries.count(entry) >= self._of_one_peer:
                return Rejection.TOO_MANY_OF_PEER
            at = entries.index(_FREE) * _ENTRY_BYTES
            self._table[at : at + _ENTRY_BYTES] = entry
            self._held[association_id] = at
        return None

    def give_back(self, association_id: str) -> None:
        """Free a place that this process took; a second call does nothing."""
        with self._alone():
            at = self._held.pop(association_id, None)
            if at is not None:
                self._table[at : at + _ENTRY_BYTES] = _FREE

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Shut out the other threads, and the other processes (fcntl: a lock that ends with its process)."""
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
