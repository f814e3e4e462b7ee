"""Earlier reports of ours that a source has of the patient: found by their series, whose UIDs we derive, and taken by C-GET.

They are no instances of the study: they are kept beside it, never indexed, and read where findings are made.
"""

from __future__ import annotations

from itertools import product

from pydicom import Dataset

from egfr_dls.biomarkers import RULES
from egfr_dls.uids import series_uid
from listener.retrieve.plan import Request
from listener.retrieve.query import keys, matches
from listener.retrieve.source import GET, Dialogue
from listener.retrieve.take import Inbox, fetch
from listener.storage.facts import is_uid

MAX_STUDIES = 500  # of one patient; a source that lists more is not asked further
MAX_EARLIER = 20  # of them are looked into, the newest
WILD_CARDS = frozenset("*?\\")  # PS3.4 C.2.2.2.4: an ID with one of these would match other patients


def fetch_prior_reports(source: Dialogue, inbox: Inbox) -> None:
    """Have the newest report of each earlier study of the patient sent to the inbox.

    Only by C-GET: what C-MOVE sends to the listener is taken for a result of ours that a rule sends back.

    Raises
    ------
    SourceError
        it does not answer, or lists more than is taken
    """
    if not source.accepts(GET):
        return
    for study in _earlier_studies(source, inbox.study_instance_uid):
        report = _newest_report(source, study)
        if report is not None:
            uids = frozenset({str(report.SOPInstanceUID)})
            request = Request(str(report.SeriesInstanceUID), "SR", uids, whole=False)
            inbox.expect_report(request)
            fetch(source, [request], inbox, study)


def _earlier_studies(source: Dialogue, study_instance_uid: str) -> list[str]:
    """Return the patient's other studies up to the day of this one, the newest first."""
    this = keys("STUDY", StudyInstanceUID=study_instance_uid, PatientID="", IssuerOfPatientID="", StudyDate="")
    known = next(iter(matches(source, this, MAX_STUDIES)), Dataset())
    patient_id, date = str(known.get("PatientID") or ""), str(known.get("StudyDate") or "")
    if not patient_id or not date or WILD_CARDS & set(patient_id):
        return []
    other = keys("STUDY", StudyInstanceUID="", PatientID=patient_id, StudyDate=f"-{date}")
    if known.get("IssuerOfPatientID"):
        other.IssuerOfPatientID = known.IssuerOfPatientID
    found = [match for match in matches(source, other, MAX_STUDIES) if match.get("PatientID") == patient_id]
    found.sort(key=lambda match: str(match.get("StudyDate") or ""), reverse=True)
    uids = [str(match.get("StudyInstanceUID") or "") for match in found]
    return [uid for uid in dict.fromkeys(uids) if is_uid(uid) and uid != study_instance_uid][:MAX_EARLIER]


def _newest_report(source: Dialogue, study_instance_uid: str) -> Dataset | None:
    """Return the match of our report with the highest revision (Instance Number (0020,0013)), if the study has one."""
    ours = [
        series_uid(study_instance_uid, rule.name, "report", demonstration=demonstration)
        for rule, demonstration in product(RULES, (False, True))
    ]
    reports = []
    wanted = keys("SERIES", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=ours, Modality="SR")
    for series in matches(source, wanted, MAX_STUDIES):
        if series.get("SeriesInstanceUID") in ours:
            image = keys("IMAGE", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=series.SeriesInstanceUID,
                         SOPInstanceUID="", InstanceNumber="")  # fmt: skip
            found = matches(source, image, MAX_STUDIES)
            for match in found:
                match.SeriesInstanceUID = series.SeriesInstanceUID
            reports += [match for match in found if is_uid(str(match.get("SOPInstanceUID") or ""))]
    return max(reports, key=lambda match: int(match.get("InstanceNumber") or 0), default=None)
