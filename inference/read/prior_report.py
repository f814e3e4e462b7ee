"""An earlier report of ours, as PACS gave it, read back: whose it is, of when, and what it scored."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code

from egfr_dls import codes
from egfr_dls.findings import PriorFinding
from egfr_dls.uids import series_uid
from inference.read.header import text

IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")  # TID 1500
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")  # TID 1501
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")  # TID 4019
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
PATIENT = "Patient"  # the tracking identifier of the patient-level group
_DATE = re.compile(r"[0-9]{8}")


@dataclass(frozen=True)
class PriorReport:
    """What a report of ours says: PatientID, its issuer, PatientBirthDate, Study Date and Time, and its score."""

    study_instance_uid: str
    patient_id: str
    issuer: str
    birth_date: str
    study_date: str
    study_time: str
    finding: PriorFinding


def read_prior_report(part10: bytes, biomarker: str, source: str) -> PriorReport | None:
    """Return what a report says; None where it is no report of ours with a score, or cannot be read.

    Parameters
    ----------
    source
        the name of the source that gave it
    """
    try:
        return _report(dcmread(io.BytesIO(part10)), biomarker, source)
    except Exception:  # noqa: BLE001  # whatever pydicom raises at what another hand has written: no history is made of it
        return None


def _report(ds: Dataset, biomarker: str, source: str) -> PriorReport | None:
    study, series = str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)
    ours = {series_uid(study, biomarker, "report", demonstration=d): d for d in (False, True)}
    date = text(ds, "StudyDate")
    group = next(_patient_groups(ds), None)
    if series not in ours or not _DATE.fullmatch(date) or group is None:
        return None
    parameters = dict(_text(item).partition("=")[::2] for item in _named(group, ALGORITHM_PARAMETERS))
    finding = PriorFinding(
        study_date=f"{date[:4]}-{date[4:6]}-{date[6:]}",
        egfr_dls=_number(group, codes.EGFR_DLS),
        pdl1_dls=_number(group, codes.PDL1_DLS) if any(_named(group, codes.PDL1_DLS)) else None,
        source=source,
        demonstration=ours[series],
        model=f"{_text(next(_named(group, ALGORITHM_NAME)))} {_text(next(_named(group, ALGORITHM_VERSION)))}",
        model_sha256=parameters["weights_sha256"],
        cut_off=_share(float(parameters["cutoff"]), "cutoff"),
    )
    whose = text(ds, "PatientID"), text(ds, "IssuerOfPatientID"), text(ds, "PatientBirthDate")
    return PriorReport(study, *whose, date, text(ds, "StudyTime")[:16], finding)


def _patient_groups(ds: Dataset) -> Iterator[Dataset]:
    """Yield the measurement groups of the patient that have a score."""
    for container in _named(ds, IMAGING_MEASUREMENTS):
        for group in container.ContentSequence:
            named = any(_text(item) == PATIENT for item in _named(group, TRACKING_IDENTIFIER))
            if named and any(_named(group, codes.EGFR_DLS)):
                yield group


def _named(item: Dataset, name: Code) -> Iterator[Dataset]:
    """Yield the content items below an item that bear a name."""
    for child in item.get("ContentSequence") or ():
        concept = child.ConceptNameCodeSequence[0] if child.get("ConceptNameCodeSequence") else Dataset()
        if (concept.get("CodeValue"), concept.get("CodingSchemeDesignator")) == (name.value, name.scheme_designator):
            yield child


def _text(item: Dataset) -> str:
    return str(item.TextValue)


def _number(group: Dataset, name: Code) -> float:
    """Return a score."""
    return _share(float(next(_named(group, name)).MeasuredValueSequence[0].NumericValue), name.meaning)


def _share(value: float, what: str) -> float:
    """Return a score or a cut-off, which lies in 0 to 1; NaN does not."""
    if not 0 <= value <= 1:
        raise ValueError(f"{what} is {value}; needed: 0 to 1")
    return value
