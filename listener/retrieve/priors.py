"""Earlier reports of ours that a source has of the patient: found by their series, whose UIDs we derive, and taken by C-GET or
DICOMweb.

They are no instances of the study: they are kept beside it, never indexed, and read where findings are made.
"""

from __future__ import annotations

import re
from itertools import product

from egfr_dls.biomarkers import RULES
from egfr_dls.uids import series_uid
from listener.retrieve.inbox import Inbox
from listener.retrieve.plan import Request
from listener.retrieve.query import keys
from listener.retrieve.source import Dialogue
from listener.storage.facts import is_uid

MAX_STUDIES = 500  # of one patient; a source that lists more is not asked further
MAX_EARLIER = 20  # of them are looked into, the newest
_DATE, _NUMBER = re.compile(r"[0-9]{8}"), re.compile(r"[0-9]{1,12}")  # PS3.5 table 6.2-1: DA, and IS as ours is
WILD_CARDS = frozenset("*?\\")  # PS3.4 C.2.2.2.4: an ID with one of these would match other patients


def fetch_prior_reports(source: Dialogue, inbox: Inbox) -> None:
    """Have the newest report of each earlier study of the patient sent to the inbox.

    Not by C-MOVE: what comes to the listener is taken for a result of ours that a rule sends back.

    Raises
    ------
    SourceError
        it does not answer, or lists more than is taken
    """
    if not source.brings:
        return
    for study in _earlier_studies(source, inbox.study_instance_uid):
        request = _newest_report(source, study)
        if request is not None:
            inbox.expect_report(request)
            source.fetch([request], study)


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
    return [uid for uid in dict.fromkeys(uids) if is_uid(uid) and uid != study_instance_uid][:MAX_EARLIER]


def _newest_report(source: Dialogue, study_instance_uid: str) -> Request | None:
    """Return a request for our report with the highest revision (Instance Number (0020,0013)), if the study has one."""
    ours = [
        series_uid(study_instance_uid, rule.name, "report", demonstration=demonstration)
        for rule, demonstration in product(RULES, (False, True))
    ]
    revisions: list[tuple[int, str, str]] = []
    wanted = keys("SERIES", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=ours, Modality="SR")
    for series in (match["SeriesInstanceUID"] for match in source.matches(wanted, MAX_STUDIES)):
        if series in ours:
            image = keys("IMAGE", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=series, SOPInstanceUID="",
                         InstanceNumber="")  # fmt: skip
            found = [(m["SOPInstanceUID"], m["InstanceNumber"]) for m in source.matches(image, MAX_STUDIES)]
            revisions += [(int(n) if _NUMBER.fullmatch(n) else 0, uid, series) for uid, n in found if is_uid(uid)]
    if not revisions:
        return None
    _revision, uid, series = max(revisions)
    return Request(series, "SR", frozenset({uid}), whole=False)
