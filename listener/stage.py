"""The listener: receiver, indexer and completion of one spool, from start to drain."""

from __future__ import annotations

import fcntl
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings import Settings
from egfr_dls.store import Store, open_store
from egfr_dls.telemetry import error_fields, get_logger
from listener.association import Admission
from listener.completion import Completion
from listener.intake import Intake
from listener.receiver import Receiver
from listener.reception import Reception
from listener.scp import PynetdicomReceiver

TICK_SECONDS = 0.25  # between two ticks at most
GAP_SECONDS = 0.05  # at least: releases in quick succession are entered together
STOP_SECONDS = 0.5
PASSES = 8  # of the indexer in one tick, at most


def main(settings: Settings, worker: str, stop: threading.Event) -> None:
    """Receive until ``stop`` is set, then drain: nothing new is accepted, what is open may finish, all is indexed.

    Raises
    ------
    ConfigurationError
        before the first association is accepted
    """
    with open_store(settings, worker) as store, _sole_listener(settings.storage.root):
        bell = threading.Event()
        receiver = _receiver(settings, store, bell)
        intake = Intake(store.ledger, store.spool, store.site_key, worker)
        indexer = Indexer(intake, Completion(store.ledger, settings), receiver.ended, bell)
        indexer.recover(stop)
        receiver.start()
        get_logger().info("listening", port=receiver.port, peers=len(settings.listener.peers))
        with indexer.running():
            while not stop.wait(STOP_SECONDS):  # an endless wait does not see a signal that another thread was given
                pass
            aborted = receiver.drain(settings.listener.drain_seconds)
        get_logger().info("drained", count=aborted)


class Indexer:
    """The thread that indexes and completes. Trouble with the ledger never stops the receiver: it is tried again.

    Parameters
    ----------
    ended
        see ``listener.receiver.Receiver.ended``
    bell
        set by whoever knows that an association was released; the indexer clears it
    clock
        UTC seconds
    """

    def __init__(
        self,
        intake: Intake,
        completion: Completion,
        ended: Callable[[], Sequence[str]],
        bell: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._intake = intake
        self._completion = completion
        self._ended = ended
        self._gone: list[str] = []  # ended, not yet entered
        self._bell = bell
        self._ask_at = math.inf  # when a quiet time or force time ends, UTC seconds
        self._clock = clock
        self._stop = threading.Event()

    def recover(self, stop: threading.Event) -> None:
        """Index what the last listener left, before anything is accepted."""
        while not self._tried(self._intake.recover) and not stop.wait(TICK_SECONDS):
            pass

    @contextmanager
    def running(self) -> Iterator[None]:
        """Work in a thread; at the end, a last pass enters what was received."""
        thread = threading.Thread(target=self._run, name="indexer")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._bell.set()
            thread.join()

    def tick(self) -> None:
        """Index, and decide on studies if no association was released meanwhile.

        A release that a pass has seen may stand in another segment than the association's last instances, which the pass
        may have gone by before they were there. The pass after it sees them: decisions wait for a pass without a release.
        """
        self._ask_at = math.inf
        self._gone += self._ended()
        for _ in range(PASSES):
            found = self._intake.index(self._gone)
            self._gone.clear()
            if not found.releases:
                self._ask_at = self._completion.apply(self._clock())
                return

    def _run(self) -> None:
        while not self._stop.is_set():
            self._tried(self.tick)
            self._stop.wait(GAP_SECONDS)
            self._bell.wait(min(TICK_SECONDS - GAP_SECONDS, max(0.0, self._ask_at - self._clock())))
            self._bell.clear()  # before the tick, which sees what it was rung for
        self._tried(self.tick)

    def _tried(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # the stage loop: what is in the spool stays there and is tried again
            get_logger().error("index_failed", **error_fields(error))
            return False
        return True


def _receiver(settings: Settings, store: Store, bell: threading.Event) -> Receiver:
    if settings.listener.accept_any_peer:
        get_logger().warning("any_peer_accepted")
    elif not settings.listener.peers:
        get_logger().warning("no_peers")
    floor = settings.storage.min_free_bytes
    admission = Admission(settings.listener, store.spool.free_bytes, floor)
    return PynetdicomReceiver(settings.listener, admission, Reception(store.spool, floor, ring=bell.set))


@contextmanager
def _sole_listener(root: Path) -> Iterator[None]:
    """Hold the lock of the spool: a second listener would index it too and abort the first one's associations."""
    fd = os.open(root / "listener.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        _lock(fd, root)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, root: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigurationError(
            f"storage.root {root}: another listener works on it; needed: a root of its own"
        ) from error
