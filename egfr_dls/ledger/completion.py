"""The step from RECEIVING to COMPLETE, written: the study's state and its inference job change in one transaction.

When it is taken is decided elsewhere: by the pure rules of ``listener.indexing.completeness``, which
``listener.indexing.completion`` applies after each pass of the indexer, or by a person (`egfr-dls studies force`, `analyze`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import deliveries, instances, jobs, networks, results, studies, withdrawals
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.jobs import JobState
from egfr_dls.settings import Settings
from egfr_dls.study import StudyState

KIND = "infer"
RELEASED: Literal["released"] = "released"
Forced = Literal["refuse", "score", "released"]


def complete(
    tx: Tx, study_instance_uid: str, biomarker: str, forced: Forced | None, settings: Settings, now: float
) -> bool:
    """Complete a study and queue its inference; return whether there is something to infer.

    Nothing is analysed twice while it is what the study's result was concluded from: then the study goes back to that. Where
    it was analysed before and something else since, it is analysed again, as the next revision. A job for anything else that
    nobody has begun is cancelled.

    Parameters
    ----------
    forced
        the study is not whole: refuse it with that reason, or score what there is; or ("released") its images are gone, so
        that nothing new can be concluded, which is said
    now
        UTC seconds
    """
    if not studies.move(tx, study_instance_uid, StudyState.COMPLETE, now):
        return False
    dedup = asked(tx, study_instance_uid, biomarker, forced, settings)
    jobs.withdraw(tx, KIND, study_instance_uid, but=dedup)
    if jobs.enqueue(tx, KIND, dedup, study_instance_uid, {"biomarker": biomarker, "forced": forced}, now):
        return True
    match jobs.state(tx, dedup):
        case JobState.DEAD:
            studies.move(tx, study_instance_uid, StudyState.FAILED, now, failure="DEAD_JOB")
        case JobState.DONE if _stands(tx, study_instance_uid, biomarker, dedup, forced, settings):
            return_to_result(tx, study_instance_uid, biomarker, settings, now)
        case JobState.DONE | JobState.CANCELLED:
            jobs.reopen(tx, dedup, now)
            return True
        case JobState.READY | JobState.LEASED:
            pass  # it is on its way
    return False


def keep_result(tx: Tx, study_instance_uid: str, settings: Settings, now: float, *, too_late: bool) -> None:
    """Lead a study back to its result, because the images are gone with which a new one could be made.

    Parameters
    ----------
    too_late
        a region has come that nobody can score: a report of that is queued, as of every refusal; of a result that was
        withdrawn nothing stands that it could say
    now
        UTC seconds
    """
    found = results.newest(tx, study_instance_uid)
    if found is None:
        return
    withdrawn = withdrawals.of_findings(tx, study_instance_uid, found.id) is not None
    if too_late and settings.reporting.refusals and not withdrawn:
        complete(tx, study_instance_uid, found.biomarker, RELEASED, settings, now)
    elif studies.move(tx, study_instance_uid, StudyState.COMPLETE, now):
        return_to_result(tx, study_instance_uid, found.biomarker, settings, now)


def analyse_again(
    tx: Tx,
    study_instance_uid: str,
    biomarker: str,
    because: str,
    settings: Settings,
    now: float,
    *,
    unless_withdrawn: int | None = None,
) -> bool:
    """Queue the inference of a scored study again, though its instances are the same; return whether it is queued.

    Parameters
    ----------
    unless_withdrawn
        id of the findings that a person accepted: withdrawn before the analysis ends, nothing follows them
    because
        names what else has changed: the same change is worked on once
    now
        UTC seconds
    """
    if studies.state(tx, study_instance_uid) not in (StudyState.SCORED, StudyState.DELIVERED):
        return False
    content = asked(tx, study_instance_uid, biomarker, None, settings)
    dedup = hashlib.sha256(f"{content}|{because}".encode()).hexdigest()
    payload: dict[str, Any] = {"biomarker": biomarker, "forced": None}
    if unless_withdrawn is not None:
        payload |= {"unless_withdrawn": unless_withdrawn}
    if not jobs.enqueue(tx, KIND, dedup, study_instance_uid, payload, now):
        return False
    return studies.move(tx, study_instance_uid, StudyState.COMPLETE, now)


def return_to_result(tx: Tx, study_instance_uid: str, biomarker: str, settings: Settings, now: float) -> None:
    """Put a complete study where its result had led, and on to DELIVERED where its newest report has arrived."""
    found = results.current(tx, study_instance_uid, biomarker)
    if found is None:
        return
    refusal = StudyFindings.from_json(found.document).refusal
    code = refusal.code if refusal else None
    state = StudyState.REFUSED if refusal else StudyState.SCORED
    studies.move(tx, study_instance_uid, state, now, refusal_code=code)
    required = [destination.name for destination in settings.destinations if destination.required]
    withdrawn = withdrawals.of_findings(tx, study_instance_uid, found.id) is not None  # nothing of it is awaited
    if withdrawn or deliveries.report_arrived(tx, study_instance_uid, required):
        studies.move(tx, study_instance_uid, StudyState.DELIVERED, now, refusal_code=code)


def asked(tx: Tx, study_instance_uid: str, biomarker: str, forced: Forced | None, settings: Settings) -> str:
    """Return the digest of what is asked of a study now: its instances, the configuration, the networks in use."""
    in_use = networks.in_use(tx, biomarker)
    return question(tx, study_instance_uid, biomarker, forced, settings.configuration_sha256, in_use)


def question(
    tx: Tx, study_instance_uid: str, biomarker: str, forced: Forced | None, configuration: str, in_use: str
) -> str:
    """Return the digest of what is asked of a study as it is, under that configuration, of those networks."""
    rows = instances.content_digest_rows(tx, study_instance_uid)
    key = json.dumps([study_instance_uid, biomarker, rows, configuration, forced, in_use])
    return hashlib.sha256(key.encode()).hexdigest()


def _stands(
    tx: Tx, study_instance_uid: str, biomarker: str, dedup: str, forced: Forced | None, settings: Settings
) -> bool:
    """Whether the newest findings are the answer to this question; what an older version found, if so configured."""
    newest = results.last if forced == RELEASED else results.current
    found = newest(tx, study_instance_uid, biomarker)
    if found is None:
        return False
    if found.question is None:
        return StudyFindings.from_json(found.document).configuration_sha256 == settings.configuration_sha256
    return bool(found.question == dedup)
