"""Carries out what ``completeness.py`` decides: asks it of every study that receives, after each pass of the indexer.

The transaction itself is ``egfr_dls.ledger.completion``'s.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from egfr_dls.biomarkers import enabled_rules
from egfr_dls.ledger import Ledger, Tx, completion, retrievals, studies
from egfr_dls.settings import Settings
from egfr_dls.study import StudyState
from egfr_dls.telemetry import get_logger
from listener.indexing.completeness import Complete, Decision, Fetch, KeepResult, NotApplicable, Wait, decide

ACTOR = "completion"  # in the audit trail
GRACE_SECONDS = 60.0  # over what a source may take: its turn has to come, and what it gave to be indexed


class Completion:
    """Moves studies out of RECEIVING, or has the sources asked for what they lack."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._rules = enabled_rules(settings)

    def apply(self, now: float, unsettled: Collection[str] = ()) -> float:
        """Decide on every study that receives; each that does not wait in a transaction of its own.

        Parameters
        ----------
        now
            UTC seconds; the caller has indexed every record
        unsettled
            associations that have ended, but of which more may be indexed: what they brought is left for the next time

        Returns
        -------
        when a quiet time or force time ends next, UTC seconds; infinity where none runs
        """
        with self._ledger.read() as tx:
            left = studies.brought_by(tx, unsettled)
            found = [s for s in studies.receiving(tx) if s.study_instance_uid not in left]
        decisions = {s.study_instance_uid: self._decide(s, now) for s in found}
        for study_instance_uid, decision in decisions.items():
            if not isinstance(decision, Wait):
                with self._ledger.begin() as tx:
                    self._apply_one(tx, study_instance_uid, now)
        return min((d.until for d in decisions.values() if isinstance(d, Wait)), default=math.inf)

    def _decide(self, snapshot: studies.StudySnapshot, now: float) -> Decision:
        return decide(
            snapshot,
            now,
            self._settings.study,
            self._rules,
            idle_seconds=self._settings.listener.idle_seconds,
            may_fetch=bool(self._settings.sources),
        )

    def _apply_one(self, tx: Tx, study_instance_uid: str, now: float) -> None:
        if studies.state(tx, study_instance_uid) is not StudyState.RECEIVING:
            return  # an operator was quicker
        key = studies.find(tx, study_instance_uid).study_key
        match self._decide(studies.snapshot(tx, study_instance_uid), now):
            case Complete(biomarker, forced):
                new = completion.complete(tx, study_instance_uid, biomarker, forced, self._settings, now)
                get_logger().info(
                    "study_complete" if new else "study_unchanged", study_key=key, biomarker=biomarker, action=forced
                )
            case Fetch():
                patience = [(s.name, s.max_seconds + GRACE_SECONDS) for s in self._settings.sources]
                retrievals.ask(tx, study_instance_uid, patience, now)
            case KeepResult(too_late):
                self._keep_result(tx, study_instance_uid, key, now, too_late=too_late)
            case NotApplicable():
                studies.move(tx, study_instance_uid, StudyState.NOT_APPLICABLE, now)
                get_logger().info("study_not_applicable", study_key=key)

    def _keep_result(self, tx: Tx, study_instance_uid: str, key: str, now: float, *, too_late: bool) -> None:
        completion.keep_result(tx, study_instance_uid, self._settings, now, too_late=too_late)
        if not too_late:
            get_logger().info("result_kept", study_key=key)
            return
        studies.record_action(tx, ACTOR, "region too late", study_instance_uid, "its images were given up", now)
        get_logger().warning("region_too_late", study_key=key)
