"""Earlier reports of ours that a source has of the patient: found by their series, whose UIDs we derive, and taken by C-GET or
DICOMweb.

They are no instances of the study: they are kept beside it, never indexed, and read where findings are made. What is shown of
them is decided there; here they are only limited in number, and one that fails costs no other.
"""

from __future__ import annotations

import re
from itertools import product

from egfr_dls.biomarkers import RULES
from egfr_dls.uids import series_uid
from listener.retrieve.inbox import Inbox
from listener.retrieve.plan import Request
from listener.retrieve.query import keys
from listener.retrieve.rejections import rejected
from listener.retrieve.source import STOPPED, Dialogue, SourceError
from listener.storage.facts import is_uid

MAX_STUDIES = 500  # of one patient; a source that lists more is not asked further
MAX_REPORTS = 50  # are fetched, those of the newest studies; refusals and demonstrations among them
MAX_INSTANCES = 500  # of one series of ours
LIMIT = "LIMIT"  # why a report beyond MAX_REPORTS was not fetched
_DATE, _NUMBER = re.compile(r"[0-9]{8}"), re.compile(r"[0-9]{1,12}")  # PS3.5 table 6.2-1: DA, and IS as ours is
WILD_CARDS = frozenset("*?\\")  # PS3.4 C.2.2.2.4: an ID with one of these would match other patients
# How reasons begin that say nothing of the next question
_OF_ONE_ANSWER = ("QUERY_STATUS_", "RETRIEVE_STATUS_", "HTTP_", "INCOMPLETE", "CONTENT_TYPE", "ANSWER_UNREADABLE",
                  "MULTIPART_BROKEN", "PART_UNREADABLE", "NOTE_UNREADABLE")  # fmt: skip


def fetch_prior_reports(source: Dialogue, inbox: Inbox) -> None:
    """Have the newest report of each kind of each earlier study of the patient sent to the inbox, the newest study first.

    What does not come is left out with its reason. Not by C-MOVE: what comes to the listener is taken for a result of ours
    that a rule sends back.

    Raises
    ------
    SourceError
        it does not list the patient's studies or reports, or was broken off
    """
    if not source.brings:
        return
    for number, (study, request) in enumerate(_listed(source, inbox)):
        (uid,) = request.sop_instance_uids
        if number >= MAX_REPORTS:
            inbox.leave_out(uid, study, LIMIT)
            continue
        inbox.expect_report(request)
        try:
            source.fetch([request], study)
        except SourceError as error:
            if error is STOPPED:
                raise
            if uid not in inbox.reports:
                inbox.leave_out(uid, study, error.reason)


def _listed(source: Dialogue, inbox: Inbox) -> list[tuple[str, Request]]:
    """Return the reports to fetch, each with its study.

    A study whose reports cannot be listed is left out; where that is so of every study, the source is at fault.
    """
    found: list[tuple[str, Request]] = []
    failed: dict[str, SourceError] = {}
    studies = _earlier_studies(source, inbox.study_instance_uid)
    for study in studies:
        try:
            found += [(study, request) for request in _newest_reports(source, inbox, study)]
        except SourceError as error:
            if not error.reason.startswith(_OF_ONE_ANSWER):
                raise
            failed[study] = error
    if failed and len(failed) == len(studies):
        raise failed[studies[0]]
    for study, why in failed.items():
        inbox.leave_out(study, study, why.reason)
    return found


def _earlier_studies(source: Dialogue, study_instance_uid: str) -> list[str]:
    """Return the patient's other studies up to the day of this one, the newest first."""
    this = keys("STUDY", StudyInstanceUID=study_instance_uid, PatientID="", IssuerOfPatientID="", StudyDate="")
    known = next(iter(source.matches(this, MAX_STUDIES)), {})
    patient_id, date = known.get("PatientID", ""), known.get("StudyDate", "")
    if not patient_id or not _DATE.fullmatch(date) or WILD_CARDS & set(patient_id):
        return []
    other = keys("STUDY", StudyInstanceUID="", PatientID=patient_id, StudyDate=f"-{date}")
    if known["IssuerOfPatientID"]:
        other.IssuerOfPatientID = known["IssuerOfPatientID"]
    found = [match for match in source.matches(other, MAX_STUDIES) if match["PatientID"] == patient_id]
    found.sort(key=lambda match: match["StudyDate"], reverse=True)
    uids = [match["StudyInstanceUID"] for match in found]
    return [uid for uid in dict.fromkeys(uids) if is_uid(uid) and uid != study_instance_uid]


def _newest_reports(source: Dialogue, inbox: Inbox, study_instance_uid: str) -> list[Request]:
    """Return requests for the newest report that was not withdrawn, of each biomarker; demonstrations beside real ones."""
    ours = {
        series_uid(study_instance_uid, rule.name, "report", demonstration=demonstration): series_uid(
            study_instance_uid, rule.name, "rejection", demonstration=demonstration
        )
        for rule, demonstration in product(RULES, (False, True))
    }
    wanted = keys("SERIES", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=[*ours, *ours.values()])
    there = {match["SeriesInstanceUID"] for match in source.matches(wanted, MAX_STUDIES)}
    requests = []
    for reports, notes in ours.items():
        if reports in there:
            withdrawn = rejected(source, inbox, study_instance_uid, notes) if notes in there else frozenset[str]()
            revisions = _revisions(source, study_instance_uid, reports)
            standing = [(number, uid) for number, uid in revisions if uid not in withdrawn]
            if standing:
                requests.append(Request(reports, "SR", frozenset({max(standing)[1]}), whole=False))
    return requests


def _revisions(source: Dialogue, study_instance_uid: str, series_instance_uid: str) -> list[tuple[int, str]]:
    """Return revision (Instance Number (0020,0013)) and SOP Instance UID of each report in a series of ours."""
    wanted = keys("IMAGE", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=series_instance_uid,
                  SOPInstanceUID="", InstanceNumber="")  # fmt: skip
    found = [(m["SOPInstanceUID"], m["InstanceNumber"]) for m in source.matches(wanted, MAX_INSTANCES)]
    return [(int(number) if _NUMBER.fullmatch(number) else 0, uid) for uid, number in found if is_uid(uid)]
