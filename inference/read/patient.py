"""Whose an object is, and when two of them are of one patient for certain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from inference.read.header import day, text

# What registration and de-identification write where nothing is known (PS3.15 table E.1-1, action D: a dummy value)
DUMMY_NAMES: Final = frozenset(
    ("anon", "anonym", "anonymous", "anonymized", "anonymised", "deidentified", "removed", "unknown", "none", "noname")
)
DUMMY_BIRTH_DATES: Final = frozenset(("18000101", "19000101"))


@dataclass(frozen=True, slots=True)
class Patient:
    """PatientID (0010,0020), its issuer (0010,0021), PatientBirthDate (0010,0030) and PatientName (0010,0010).

    Birth date and name are empty where they tell nobody from anybody: no date, a dummy, a name that repeats the ID.
    """

    patient_id: str
    issuer: str
    birth_date: str
    name: str

    @property
    def mark(self) -> str:
        """What tells this patient from others of the same ID: the birth date, else the name; empty: nothing does."""
        return self.birth_date or (self.name and f"name {self.name}")

    def is_same_as(self, other: Patient) -> bool | None:
        """Whether both are one patient; None where the ID is one and nothing else can be compared."""
        if (self.patient_id, self.issuer) != (other.patient_id, other.issuer):
            return False
        for mine, theirs in ((self.birth_date, other.birth_date), (self.name, other.name)):
            if mine and theirs:
                return mine == theirs
        return None


def patient_of(ds: Dataset) -> Patient:
    """Return whose an object is, as its header says."""
    patient_id, born = text(ds, "PatientID"), text(ds, "PatientBirthDate")
    is_known = day(ds, "PatientBirthDate") is not None and born not in DUMMY_BIRTH_DATES
    return Patient(patient_id, text(ds, "IssuerOfPatientID"), born if is_known else "", _name(ds, patient_id))


def _name(ds: Dataset, patient_id: str) -> str:
    """Return the components of the alphabetic group (PS3.5 6.2.1), without regard to case and padding."""
    parts = [part.strip() for part in text(ds, "PatientName").partition("=")[0].casefold().split("^")]
    tells_nothing = {part for part in parts if part} <= {*DUMMY_NAMES, patient_id.casefold()}
    return "" if tells_nothing else "^".join(parts).rstrip("^")
