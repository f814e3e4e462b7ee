"""Asks the sources for what studies lack: a thread of the indexer's process, since what is fetched goes into the spool.

Completeness says which study is to be asked about (``Fetch``); the ledger remembers it, so that it is said once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Set
from contextlib import AbstractContextManager
from dataclasses import replace

from egfr_dls.background import beside
from egfr_dls.biomarkers import enabled_rules
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import instances, retrievals, studies
from egfr_dls.ledger.retrievals import DueRetrieval, FetchedSeries
from egfr_dls.settings import Settings
from egfr_dls.store import Store
from egfr_dls.telemetry import error_fields, get_logger
from listener.indexing.completeness import asked_rule, lacking
from listener.retrieve.ask import Asker, Lack, Outcome
from listener.retrieve.source import STOPPED, SourceError
from listener.retrieve.whose import patient_id_of
from listener.storage.reception import Reception

POLL_SECONDS = 1.0  # for what becomes due by time alone
INDEX_SECONDS = 30.0  # what was fetched is in the ledger by then


class Retriever:
    """Works through the retrievals that are due until it is told to stop.

    Parameters
    ----------
    name
        of this listener, which holds the leases
    clock
        UTC seconds
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        name: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sources = {source.name: source for source in settings.sources}
        self._rules = enabled_rules(settings)
        self._ledger = store.ledger
        self._objects = store.objects
        self._spool = store.spool
        self._name = name
        self._clock = clock
        self._stop = threading.Event()
        self._reception = Reception(store.spool, settings.storage.min_free_bytes)
        self._asker = Asker(settings.listener.ae_title, self._reception, self._stop)

    def running(self) -> AbstractContextManager[None]:
        """Ask in a thread; at the end, what is under way is broken off."""
        return beside("retriever", self._run, self._stop.set)

    def _run(self) -> None:
        freed = False
        with self._ledger.changes() as changes:
            while not self._stop.is_set():
                try:
                    self._reception.try_again()
                    freed = freed or self._free()
                    while not self._stop.is_set() and self._work_one():
                        pass
                except TemporaryFailureError as error:
                    get_logger().warning("ledger_unavailable", **error_fields(error))
                except Exception as error:  # noqa: BLE001  # the loop of a stage: the study does not wait for ever
                    get_logger().error("retrieve_failed", **error_fields(error))
                changes.wait(self._stop, POLL_SECONDS)

    def _free(self) -> bool:
        with self._ledger.begin() as tx:
            retrievals.free(tx, self._name)
        return True

    def _work_one(self) -> bool:
        """Ask one source about one study; return whether there was something to ask."""
        with self._ledger.read() as tx:
            if not retrievals.is_due(tx, self._clock()):
                return False
        lease = max(source.max_seconds for source in self._sources.values()) + 2 * INDEX_SECONDS
        with self._ledger.begin() as tx:
            due = retrievals.claim(tx, self._name, self._clock(), lease)
        if due is not None:
            started, lack = time.monotonic(), self._lack(due.study_instance_uid)
            outcome = self._ask(due, lack)
            outcome, here = self._indexed(due, outcome)
            self._conclude(due, lack, outcome, here, time.monotonic() - started)
        return due is not None

    def _ask(self, due: DueRetrieval, lack: Lack) -> Outcome:
        source = self._sources.get(due.source)
        if source is None:
            return Outcome(failure=SourceError("NOT_CONFIGURED", again=False))
        return self._asker.ask(source, due.study_instance_uid, lack)

    def _lack(self, study_instance_uid: str) -> Lack:
        with self._ledger.read() as tx:
            snapshot = studies.snapshot(tx, study_instance_uid)
            here = instances.locations(tx, study_instance_uid)
        rule = asked_rule(snapshot, self._rules)
        if rule is None:
            return Lack(frozenset(), frozenset(here), images=False)
        modalities = lacking(snapshot, rule)
        patient_id = patient_id_of(self._spool, here.values(), rule.needs)
        return Lack(modalities, frozenset(here), images=rule.needs <= modalities, patient_id=patient_id)

    def _indexed(self, due: DueRetrieval, outcome: Outcome) -> tuple[Outcome, frozenset[str]]:
        """Wait until the ledger has what was fetched: only then may completeness decide with it.

        Returns
        -------
        the outcome, failed where something is missing that the source said it had sent; what of it is here
        """
        awaited = outcome.asked if outcome.failure is None else outcome.taken
        deadline = time.monotonic() + INDEX_SECONDS
        with self._ledger.changes() as changes:
            while not awaited <= (here := self._here(due)) and time.monotonic() < deadline and not self._stop.is_set():
                changes.wait(self._stop, POLL_SECONDS)
        if outcome.failure is None and not awaited <= here:
            outcome = replace(outcome, failure=STOPPED if self._stop.is_set() else SourceError("INCOMPLETE"))
        return outcome, here

    def _here(self, due: DueRetrieval) -> frozenset[str]:
        with self._ledger.read() as tx:
            return frozenset(instances.locations(tx, due.study_instance_uid))

    def _conclude(self, due: DueRetrieval, lack: Lack, outcome: Outcome, here: Set[str], seconds: float) -> None:
        fetched = [
            FetchedSeries(r.series_instance_uid, r.modality, due.source, len(r.sop_instance_uids & here))
            for r in outcome.requests
            if r.sop_instance_uids & here
        ]
        failure = outcome.failure
        if failure is None and lack.images and self._lack(due.study_instance_uid).images:
            failure = SourceError("NOT_THERE")
        again = lack.images and failure is not None and failure.again
        self._keep_reports(due, outcome)
        with self._ledger.begin() as tx:
            if failure is None:
                retrievals.conclude(tx, due, fetched, self._clock())
            elif failure is STOPPED and not fetched:
                retrievals.give_back(tx, due)
            else:
                retrievals.put_off(tx, due, failure.reason, fetched, self._clock(), again=again)
        self._say(due, failure, sum(series.instances for series in fetched), seconds)

    def _keep_reports(self, due: DueRetrieval, outcome: Outcome) -> None:
        """Keep the earlier reports that came, and why others did not."""
        reports = {uid: self._objects.put(report) for uid, report in outcome.reports.items()}
        notes = {uid: self._objects.put(why.to_bytes()) for uid, why in outcome.left_out.items()}
        with self._ledger.begin() as tx:
            retrievals.keep_reports(tx, due, reports, came=True)
            retrievals.keep_reports(tx, due, notes, came=False)
        for why in outcome.left_out.values():
            get_logger().warning("prior_left_out", study_key=due.study_key, source=due.source, reason=why.not_fetched)

    def _say(self, due: DueRetrieval, failure: SourceError | None, count: int, seconds: float) -> None:
        if failure is None:
            get_logger().info(
                "source_asked", study_key=due.study_key, source=due.source, count=count, seconds=round(seconds, 3)
            )
        else:
            get_logger().warning(
                "source_failed",
                study_key=due.study_key,
                source=due.source,
                reason=failure.reason,
                attempts=due.attempts,
                count=count,
            )
