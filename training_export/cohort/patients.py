"""Whose studies they are: one pseudonym a patient, and no study of whom that is not certain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from pydicom.dataset import Dataset

from inference.read.header import day, text, texts
from training_export.phantom_dicom import PHANTOM_NAME


class Fault(StrEnum):
    """Why a study is left out before it is looked at; stable, for refused.csv. Refusal codes are those of the service."""

    PATIENT_UNKNOWN = "PATIENT_UNKNOWN"
    PATIENT_MIXED = "PATIENT_MIXED"
    PATIENT_AMBIGUOUS = "PATIENT_AMBIGUOUS"
    PATIENT_TWO_IDS = "PATIENT_TWO_IDS"
    STUDY_RELEASED = "STUDY_RELEASED"
    STUDY_UNFINISHED = "STUDY_UNFINISHED"
    UNREADABLE = "UNREADABLE"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    DEFECT = "DEFECT"


ADVICE: dict[Fault, str] = {
    Fault.PATIENT_UNKNOWN: "PatientID (0010,0020) is empty; needed: one, by which the patient's studies belong together",
    Fault.PATIENT_MIXED: "the study's instances name several patients in PatientID (0010,0020); correct it in PACS",
    Fault.PATIENT_AMBIGUOUS: "one PatientID (0010,0020) has two birth dates (0010,0030): two patients; give each one of his own",
    Fault.PATIENT_TWO_IDS: "two PatientIDs (0010,0020) have one name and birth date: one patient; merge them in PACS",
    Fault.STUDY_RELEASED: "retention has given its instances up; send the study again",
    Fault.STUDY_UNFINISHED: "the service still receives or analyses it; export again later",
    Fault.UNREADABLE: "none of its instances can be read; send the study again",
    Fault.NOT_APPLICABLE: "it holds no PET, so no biomarker asks for it",
    Fault.DEFECT: "egfr-dls failed on it and logged where; report that, and call again",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a header says the patient is. Never printed, never written."""

    patient_id: str = field(repr=False)  # (0010,0020)
    issuer: str = field(repr=False)  # (0010,0021)
    name: str = field(repr=False)  # (0010,0010)
    birth_date: str = field(repr=False)  # (0010,0030)

    @property
    def person(self) -> tuple[str, str] | None:
        """Name and birth date as two headers share them; None where either is missing."""
        name = " ".join(part for part in self.name.casefold().replace("^", " ").split() if part)
        return (name, self.birth_date) if name and self.birth_date else None


@dataclass(frozen=True, slots=True)
class StudyPlace:
    """A study of the source: whose it is, when it was made, and why it is left out, if it is."""

    study_instance_uid: str = field(repr=False)
    identity: Identity
    study_date: date | None
    fault: Fault | None = None

    @property
    def is_phantom(self) -> bool:
        """Whether the study is one of ours, made up."""
        return self.identity.name == PHANTOM_NAME


def identity_of(ds: Dataset) -> Identity:
    """Return whom a header names."""
    # A name may hold a backslash nowhere (PS3.5 6.2), and is compared as one value where it does
    name = "\\".join(texts(ds, "PatientName"))
    return Identity(
        text(ds, "PatientID"),
        text(ds, "IssuerOfPatientID"),
        name,
        "".join(filter(str.isdigit, text(ds, "PatientBirthDate"))),
    )


def place_of(study_instance_uid: str, headers: Sequence[Dataset], fault: Fault | None = None) -> StudyPlace:
    """Return a study by the headers of its instances."""
    whose = {(i.patient_id, i.issuer): i for i in map(identity_of, headers)}
    first = next(iter(whose.values()))
    if len(whose) > 1:
        fault = fault or Fault.PATIENT_MIXED
    elif not first.patient_id:
        fault = fault or Fault.PATIENT_UNKNOWN
    study_date = next((d for d in (day(ds, "StudyDate") for ds in headers) if d is not None), None)
    return StudyPlace(study_instance_uid, first, study_date, fault)


def faults(places: Sequence[StudyPlace]) -> Mapping[str, Fault]:
    """Return why studies are left out, by StudyInstanceUID: their own fault, or that of whose they are."""
    known = [place for place in places if place.identity.patient_id]
    births: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    ids: defaultdict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for place in known:
        whose = place.identity
        births[whose.issuer, whose.patient_id] |= {whose.birth_date} - {""}
        if whose.person is not None:
            ids[whose.person].add((whose.issuer, whose.patient_id))
    two_persons = {who for who, dates in births.items() if len(dates) > 1}
    two_names = {who for found in ids.values() if len(found) > 1 for who in found}
    found: dict[str, Fault] = {}
    for place in places:
        who = (place.identity.issuer, place.identity.patient_id)
        reason = place.fault or (
            Fault.PATIENT_AMBIGUOUS if who in two_persons else Fault.PATIENT_TWO_IDS if who in two_names else None
        )
        if reason is not None:
            found[place.study_instance_uid] = reason
    return found
