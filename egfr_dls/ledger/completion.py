"""The step from RECEIVING to COMPLETE, written: the study's state and its inference job change in one transaction.

When it is taken is decided elsewhere: by the pure rules of ``listener.indexing.completeness``, which
``listener.indexing.completion`` applies after each pass of the indexer, or by a person (`egfr-dls studies force`, `analyze`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import deliveries, instances, jobs, results, studies
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.jobs import JobState
from egfr_dls.settings import Settings
from egfr_dls.study import StudyState

KIND = "infer"
Forced = Literal["refuse", "score"]


def complete(
    tx: Tx, study_instance_uid: str, biomarker: str, forced: Forced | None, settings: Settings, now: float
) -> bool:
    """Complete a study and queue its inference; return whether there is something to infer.

    The same instances under the same configuration are never analysed twice: then the study goes back to where that analysis
    had led. A job for an earlier set of instances that nobody has begun is cancelled.

    Parameters
    ----------
    forced
        the study is not whole: refuse it with that reason, or score what there is
    now
        UTC seconds
    """
    if not studies.move(tx, study_instance_uid, StudyState.COMPLETE, now):
        return False
    dedup = _dedup(tx, study_instance_uid, biomarker, forced, settings.configuration_sha256)
    jobs.withdraw(tx, KIND, study_instance_uid, but=dedup)
    if jobs.enqueue(tx, KIND, dedup, study_instance_uid, {"biomarker": biomarker, "forced": forced}, now):
        return True
    return _analysed_before(tx, study_instance_uid, biomarker, dedup, settings, now)


def analyse_again(
    tx: Tx, study_instance_uid: str, biomarker: str, because: str, settings: Settings, now: float
) -> bool:
    """Queue the inference of a scored study again, though its instances are the same; return whether it is queued.

    Parameters
    ----------
    because
        names what else has changed: the same change is worked on once
    now
        UTC seconds
    """
    if studies.state(tx, study_instance_uid) not in (StudyState.SCORED, StudyState.DELIVERED):
        return False
    content = _dedup(tx, study_instance_uid, biomarker, None, settings.configuration_sha256)
    dedup = hashlib.sha256(f"{content}|{because}".encode()).hexdigest()
    if not jobs.enqueue(tx, KIND, dedup, study_instance_uid, {"biomarker": biomarker, "forced": None}, now):
        return False
    return studies.move(tx, study_instance_uid, StudyState.COMPLETE, now)


def _dedup(tx: Tx, study_instance_uid: str, biomarker: str, forced: Forced | None, configuration: str) -> str:
    rows = instances.content_digest_rows(tx, study_instance_uid)
    key = json.dumps([study_instance_uid, biomarker, rows, configuration, forced])
    return hashlib.sha256(key.encode()).hexdigest()


def _analysed_before(
    tx: Tx, study_instance_uid: str, biomarker: str, dedup: str, settings: Settings, now: float
) -> bool:
    match jobs.state(tx, dedup):
        case JobState.CANCELLED:
            jobs.reopen(tx, dedup, now)
            return True
        case JobState.DEAD:
            studies.move(tx, study_instance_uid, StudyState.FAILED, now, failure="DEAD_JOB")
        case JobState.DONE:
            _return_to_result(tx, study_instance_uid, biomarker, settings, now)
        case JobState.READY | JobState.LEASED:
            pass  # it is on its way
    return False


def _return_to_result(tx: Tx, study_instance_uid: str, biomarker: str, settings: Settings, now: float) -> None:
    found = results.current(tx, study_instance_uid, biomarker)
    if found is None:
        studies.move(tx, study_instance_uid, StudyState.NOT_APPLICABLE, now)
        return
    refusal = StudyFindings.from_json(found.document).refusal
    code = refusal.code if refusal else None
    state = StudyState.REFUSED if refusal else StudyState.SCORED
    studies.move(tx, study_instance_uid, state, now, refusal_code=code)
    required = [destination.name for destination in settings.destinations if destination.required]
    if deliveries.report_arrived(tx, study_instance_uid, required):
        studies.move(tx, study_instance_uid, StudyState.DELIVERED, now, refusal_code=code)
