"""Retention: the instances of studies that are over for long are given up, so that the spool does not grow for ever.

By rule only, never for want of space: a disk that is full stops new instances (``[storage] min_free_bytes``), and takes
nothing from those that are here.

Order: the ledger forgets where the instances lie, in one transaction a study; then the spool gets back the segments in which
nothing is left; then the ledger forgets these. A crash between leaves the rest to the next pass.
"""

from __future__ import annotations

from egfr_dls.ledger import Ledger, listeners, retention
from egfr_dls.ledger.retention import ENDED, StudyFacts
from egfr_dls.spool import SpoolIndex
from egfr_dls.telemetry import get_logger

DAY_SECONDS = 86400.0
PASS_SECONDS = 3600.0
AT_ONCE = 64  # studies a pass; the next one follows at once where there are more


def may_go(study: StudyFacts, now: float, retention_days: float) -> bool:
    """Whether a study's instances may be given up: it is over, unchanged for so long, and nothing waits for a person.

    FAILED and held studies stay, and any of which a job is queued or dead, or an object is not at an end state somewhere.
    """
    return (
        study.state in ENDED
        and not study.held
        and not study.open_jobs
        and not study.open_deliveries
        and now - study.changed_at >= retention_days * DAY_SECONDS
    )


class Retention:
    """Applies the rule once an hour."""

    def __init__(self, ledger: Ledger, spool: SpoolIndex, listener: str, retention_days: float) -> None:
        self._ledger = ledger
        self._spool = spool
        self._listener = listener
        self._days = retention_days
        self._due = 0.0

    def apply(self, now: float) -> float:
        """Give up what may go, when that is due; return when it is due next, UTC seconds."""
        if now < self._due:
            return self._due
        more = self._release_studies(now)
        self._release_segments(now)
        self._due = now if more else now + PASS_SECONDS
        return self._due

    def _release_studies(self, now: float) -> bool:
        """Return whether there may be more."""
        with self._ledger.read() as tx:
            found = retention.unchanged_since(tx, now - self._days * DAY_SECONDS)
        going = [study for study in found if may_go(study, now, self._days)]
        for study in going[:AT_ONCE]:
            with self._ledger.begin() as tx:
                if not may_go(retention.facts(tx, study.study_instance_uid), now, self._days):
                    continue  # something has come meanwhile
                count = retention.release(tx, study.study_instance_uid, now)
            get_logger().info("study_released", study_key=study.study_key, count=count)
        return len(going) > AT_ONCE

    def _release_segments(self, now: float) -> None:
        with self._ledger.read() as tx:
            gone = self._spool.listeners() - listeners.alive(tx, now)
            names = retention.empty_segments(tx, gone | {self._listener})
        for name in names:
            self._spool.release(name)
            with self._ledger.begin() as tx:
                retention.forget_segment(tx, name)
