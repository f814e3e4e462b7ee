"""Carries out what ``completeness.py`` decides: asks it of every study that receives, after each pass of the indexer.

The transaction itself is ``egfr_dls.ledger.completion``'s.
"""

from __future__ import annotations

from egfr_dls.biomarkers import enabled_rules
from egfr_dls.ledger import Ledger, Tx, completion, studies
from egfr_dls.settings import Settings
from egfr_dls.study import StudyState
from egfr_dls.telemetry import get_logger
from listener.completeness import Complete, Decision, NotApplicable, Wait, decide


class Completion:
    """Moves studies out of RECEIVING."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._rules = enabled_rules(settings)

    def apply(self, now: float) -> int:
        """Decide on every study that receives, each in a transaction of its own; return how many left RECEIVING.

        The caller has indexed every record. ``now`` is UTC seconds.
        """
        with self._ledger.read() as tx:
            due = [s.study_instance_uid for s in studies.receiving(tx) if not isinstance(self._decide(s, now), Wait)]
        for study_instance_uid in due:
            with self._ledger.begin() as tx:
                self._apply_one(tx, study_instance_uid, now)
        return len(due)

    def _decide(self, snapshot: studies.StudySnapshot, now: float) -> Decision:
        return decide(snapshot, now, self._settings.study, self._rules)

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
            case NotApplicable():
                studies.move(tx, study_instance_uid, StudyState.NOT_APPLICABLE, now)
                get_logger().info("study_not_applicable", study_key=key)
