"""An earlier report of ours, as PACS gave it, read back: whose it is, of when, and what it scored."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code

from egfr_dls import codes
from egfr_dls.errors import EgfrDlsError
from egfr_dls.findings import PriorFinding
from egfr_dls.uids import series_uid
from inference.earlier import EarlierResult
from inference.read.header import integer, text
from inference.read.patient import Patient, patient_of

IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")  # TID 1500
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")  # TID 1501
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")  # TID 4019
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
PATIENT = "Patient"  # the tracking identifier of the patient-level group
_DATE = re.compile(r"[0-9]{8}")  # PS3.5 table 6.2-1, DA


class ReportUnreadableError(EgfrDlsError):
    """Look at the report in PACS: it lies in a series of ours, and what it says cannot be read."""


@dataclass(frozen=True)
class PriorReport:
    """What a report of ours says: of whom, and what was found."""

    patient: Patient
    result: EarlierResult


def read_prior_report(part10: bytes, biomarker: str, source: str) -> PriorReport | None:
    """Return what a report says; None where it is none of this biomarker's.

    Parameters
    ----------
    source
        the name of the source that gave it

    Raises
    ------
    ReportUnreadableError
        it cannot be read, lacks Study Date or the patient's measurement group, or states a score that is none
    """
    try:
        return _report(dcmread(io.BytesIO(part10)), biomarker, source)
    except Exception as error:  # whatever pydicom raises at what another hand has written: no history is made of it
        raise ReportUnreadableError from error


def _report(ds: Dataset, biomarker: str, source: str) -> PriorReport | None:
    study, series = str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)
    ours = {series_uid(study, biomarker, "report", demonstration=d): d for d in (False, True)}
    if series not in ours:
        return None
    result = EarlierResult(
        study,
        source,
        revision=integer(ds, "InstanceNumber") or 0,
        when=(text(ds, "StudyDate"), text(ds, "StudyTime")[:16]),
        demonstration=ours[series],
        finding=_finding(next(_patient_groups(ds)), _iso(text(ds, "StudyDate")), source, demonstration=ours[series]),
    )
    return PriorReport(patient_of(ds), result)


def _iso(date: str) -> str:
    if not _DATE.fullmatch(date):
        raise ValueError("StudyDate (0008,0020) is no date")
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


def _finding(group: Dataset, study_date: str, source: str, *, demonstration: bool) -> PriorFinding | None:
    """Return what the patient's measurement group says; None of a refusal, whose group has no score."""
    if not any(_named(group, codes.EGFR_DLS)):
        return None
    parameters = _parameters(group)
    return PriorFinding(
        study_date=study_date,
        egfr_dls=_number(group, codes.EGFR_DLS),
        pdl1_dls=_number(group, codes.PDL1_DLS) if any(_named(group, codes.PDL1_DLS)) else None,
        source=source,
        demonstration=demonstration,
        model=f"{_text(next(_named(group, ALGORITHM_NAME)))} {_text(next(_named(group, ALGORITHM_VERSION)))}",
        model_sha256=parameters["weights_sha256"],
        cut_off=_share(float(parameters["cutoff"]), "cutoff"),
        preprocessing_sha256=parameters.get("preprocessing_sha256", ""),
    )


def _parameters(group: Dataset) -> Mapping[str, str]:
    """Return what stands in the Algorithm Parameters, one ``name=value`` an item."""
    return dict(_text(item).partition("=")[::2] for item in _named(group, ALGORITHM_PARAMETERS))


def _patient_groups(ds: Dataset) -> Iterator[Dataset]:
    """Yield the measurement groups of the patient."""
    for container in _named(ds, IMAGING_MEASUREMENTS):
        for group in container.ContentSequence:
            if any(_text(item) == PATIENT for item in _named(group, TRACKING_IDENTIFIER)):
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
