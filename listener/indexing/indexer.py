"""The indexer: behind the receivers it fills the ledger from the spool, and does what follows from what the ledger then says."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from egfr_dls.settings import Settings
from egfr_dls.store import Store, open_store
from egfr_dls.telemetry import error_fields, get_logger
from listener.bell import Bell
from listener.commitment.reporter import Reporter
from listener.commitment.settlement import Settlement
from listener.indexing.completion import Completion
from listener.indexing.intake import Intake
from listener.indexing.neighbours import Neighbours
from listener.indexing.retention import Retention

TICK_SECONDS = 2.0  # between two ticks at most: an open stream is entered in large portions, which leaves it the cores
GAP_SECONDS = 0.05  # at least: ends of associations in quick succession are entered together
PASSES = 8  # in one tick, at most
NICENESS = 5  # what is on the wire goes first

Duty = Callable[[float], float]  # what is done at a time (UTC seconds), and when to be asked again


def main(settings: Settings, listener: str, bell: Bell, opened: Callable[[], None]) -> None:
    """Index until nobody is left to ring; a last pass then enters what was received. A process of its own.

    Parameters
    ----------
    opened
        called when the ledger is open: from then on trouble with it is tried again

    Raises
    ------
    ConfigurationError
        the ledger cannot be opened
    """
    started_at = time.time()
    os.nice(NICENESS)
    with open_store(settings, listener) as store:
        opened()
        indexer = indexer_of(settings, store, listener)
        reporter = Reporter(settings, store.ledger, listener)
        with reporter.running(), _retriever(settings, store, listener):
            indexer.recover(bell, started_at)
            indexer.run(bell)


def _retriever(settings: Settings, store: Store, listener: str) -> AbstractContextManager[None]:
    """Ask the sources while the context lasts; without any, what that needs is not even loaded."""
    if not settings.sources:
        return nullcontext()
    from listener.retrieve.duty import Retriever  # with pydicom and pynetdicom: a third of the process's memory

    return Retriever(settings, store, listener).running()


def indexer_of(settings: Settings, store: Store, listener: str) -> Indexer:
    """Return the indexer of a listener with its duties."""
    intake = Intake(store.ledger, store.spool, store.site_key, listener)
    neighbours = Neighbours(store.ledger, store.spool, intake, settings.storage.root, listener)
    retention = Retention(store.ledger, store.spool, listener, settings.storage.retention_days)
    settlement = Settlement(store.ledger, store.spool)
    return Indexer(intake, Completion(store.ledger, settings), (settlement.apply, neighbours.apply, retention.apply))


class Indexer:
    """Indexes and decides. Trouble with the ledger never stops the receivers: it is tried again.

    Parameters
    ----------
    duties
        what is done at each tick beside completion; one that fails keeps no other from its turn
    clock
        UTC seconds
    """

    def __init__(
        self, intake: Intake, completion: Completion, duties: Sequence[Duty], clock: Callable[[], float] = time.time
    ) -> None:
        self._intake = intake
        self._completion = completion
        self._duties = duties
        self._ask_at = math.inf  # when a duty wants to be asked, UTC seconds
        self._clock = clock

    def recover(self, bell: Bell, started_at: float) -> None:
        """Index what the last process of this name left; see ``Intake.recover``."""
        while not self._tried(lambda: self._intake.recover(started_at)) and bell.wait(TICK_SECONDS):
            pass

    def run(self, bell: Bell) -> None:
        """Work until nobody is left to ring."""
        while True:
            self._tried(self.tick)
            time.sleep(GAP_SECONDS)
            if not bell.wait(min(TICK_SECONDS - GAP_SECONDS, max(0.0, self._ask_at - self._clock()))):
                break
        self._tried(self.tick)

    def tick(self) -> None:
        """Index, complete what is whole, and do the duties.

        An end that a pass has seen may stand in another segment than the association's last instances, which the pass
        may have gone by before they were there. The pass after it sees them. So passes follow one another until one has seen
        no end; where associations end so fast that there is none, the studies of those that the last one saw end are left
        to the next tick, which follows at once. Everything else has its turn at each tick.
        """
        self._ask_at = math.inf
        for _ in range(PASSES):
            if not (ends := self._intake.index().ends):
                break
        if ends:
            self._ask_at = self._clock()
        completion: Duty = partial(self._completion.apply, unsettled=ends)
        for duty in (completion, *self._duties):
            self._tried(partial(self._do, duty))

    def _do(self, duty: Duty) -> None:
        self._ask_at = min(self._ask_at, duty(self._clock()))

    def _tried(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # the stage loop: what is in the spool stays there and is tried again
            get_logger().error("index_failed", **error_fields(error))
            return False
        return True
