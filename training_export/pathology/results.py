"""Results of tissue tests as the cohort knows them: of a patient, of a day, from a row of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

PDL1_POSITIVE_PERCENT = 1.0  # tumour proportion score from which PD-L1 counts as positive (Mu et al. 2020)
MAX_FILE_BYTES = 256 * 2**20


class TissueTest(StrEnum):
    """What was tested; the names of the networks' tasks."""

    EGFR = "egfr"
    PDL1 = "pdl1"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a file means: PatientID (0010,0020) and, where it says so, its issuer (0010,0021). Never printed."""

    patient_id: str = field(repr=False)
    issuer: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class TissueResult:
    """One result.

    Parameters
    ----------
    positive
        EGFR mutant, PD-L1 tumour proportion score of 1 % or more
    taken_on
        day on which the specimen was taken, else of the result; None where the file does not say
    place
        where it stands, for messages: "pathology.csv, line 3"
    """

    subject: Subject
    test: TissueTest
    positive: bool
    taken_on: date | None
    place: str


@dataclass(frozen=True)
class Reading:
    """What a file gave: its results, and how many entries said nothing that could be used, by reason."""

    results: tuple[TissueResult, ...]
    passed_over: dict[str, int] = field(default_factory=dict)
