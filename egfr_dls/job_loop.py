"""The loop of a stage: claim a job, work on it under a heartbeat, and finish it with its effect in one transaction."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from egfr_dls.background import beside
from egfr_dls.errors import ConfigurationError, TemporaryFailureError
from egfr_dls.ledger import Ledger, Tx, jobs, studies
from egfr_dls.ledger.jobs import Effect, Job, LeaseLostError
from egfr_dls.study import StudyState
from egfr_dls.telemetry import error_fields, get_logger

POLL_SECONDS = 1.0  # for what becomes due by time alone: a back-off, a lease that ran out
Clock = Callable[[], float]  # UTC seconds since 1970


class Handler(Protocol):
    """What a stage does with one job."""

    kind: str

    def handle(self, job: Job) -> Effect:
        """Do the work outside any transaction and return what to write when the job finishes.

        Raises
        ------
        TemporaryFailureError
            the job goes back with back-off; any other exception is a defect and ends it
        """


def run(ledger: Ledger, handler: Handler, worker: str, stop: threading.Event, clock: Clock = time.time) -> None:
    """Work until ``stop`` is set, and look for the next job when the ledger has changed; the job in hand is finished first."""
    with ledger.changes() as changes:
        while not stop.is_set():
            try:
                worked = run_one(ledger, handler, worker, clock)
            except TemporaryFailureError as error:  # the ledger itself: claim nothing, finish nothing, try again
                get_logger().warning("ledger_unavailable", **error_fields(error))
                worked = False
            if not worked:
                changes.wait(stop, POLL_SECONDS * random.uniform(0.8, 1.2))  # jitter, not a secret


def run_one(ledger: Ledger, handler: Handler, worker: str, clock: Clock = time.time) -> bool:
    """Work on one due job, if there is one; return whether there was."""
    with ledger.read() as tx:
        if not jobs.anything_due(tx, handler.kind, clock()):
            return False
    with ledger.begin() as tx:
        for study_instance_uid in jobs.sweep(tx, clock()):
            studies.move(tx, study_instance_uid, StudyState.FAILED, clock(), failure="LEASE_LOST")
        job = jobs.claim(tx, handler.kind, worker, clock())
    if job is None:
        return False
    try:
        with _heartbeat(ledger, job, clock):
            _attempt(ledger, handler, job, clock)
    except LeaseLostError:
        get_logger().warning("lease_lost", kind=job.kind, attempts=job.attempts)
    return True


def _attempt(ledger: Ledger, handler: Handler, job: Job, clock: Clock) -> None:
    try:
        effect = handler.handle(job)
        with ledger.begin() as tx:
            jobs.finish(tx, job, effect)
    except TemporaryFailureError as error:
        get_logger().warning("job_postponed", kind=job.kind, attempts=job.attempts, **error_fields(error))
        with ledger.begin() as tx:
            if not jobs.postpone(tx, job, type(error).__name__, clock()):
                _fail(tx, job, error, clock)
    except (ConfigurationError, LeaseLostError):
        raise
    except Exception as error:  # noqa: BLE001  # the one broad except of a stage: a defect costs one study, not the service
        with ledger.begin() as tx:
            jobs.bury(tx, job, type(error).__name__)
            _fail(tx, job, error, clock)


def _fail(tx: Tx, job: Job, error: Exception, clock: Clock) -> None:
    studies.move(tx, job.study_instance_uid, StudyState.FAILED, clock(), failure=type(error).__name__)
    get_logger().error("job_dead", kind=job.kind, attempts=job.attempts, **error_fields(error))


def _heartbeat(ledger: Ledger, job: Job, clock: Clock) -> AbstractContextManager[None]:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(jobs.HEARTBEAT_SECONDS):
            try:
                with ledger.begin() as tx:
                    jobs.heartbeat(tx, job, clock())
            except LeaseLostError:
                return  # the finish will find out
            except TemporaryFailureError as error:
                get_logger().warning("heartbeat_failed", kind=job.kind, **error_fields(error))

    return beside(f"heartbeat-{job.kind}", beat, done.set)
