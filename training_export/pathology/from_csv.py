"""Pathology results in CSV: one row a result (docs/cohort.md)."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from inference.read.header import as_number
from training_export.pathology.results import PDL1_POSITIVE_PERCENT, Reading, Subject, TissueResult, TissueTest
from training_export.pathology.rows import read_rows

OPTION = "--pathology"
# What a cell of ``result`` says; in lower case. The rest of the column is a percentage.
WORDS: dict[TissueTest, dict[str, bool]] = {
    TissueTest.EGFR: {"mutant": True, "wild type": False, "wild_type": False, "positive": True, "negative": False},
    TissueTest.PDL1: {"positive": True, "negative": False},
}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def written_date(value: Any) -> Any:
    """Let through what is written as a date, for a field of pydantic's."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        return value
    raise ValueError("must be a date as 2026-01-31")


class PathologyRow(BaseModel):
    """One row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patient_id: str = Field(max_length=64)  # (0010,0020)
    issuer_of_patient_id: str = Field("", max_length=64)  # (0010,0021)
    taken_on: date  # of the specimen
    test: TissueTest
    result: str

    _date = field_validator("taken_on", mode="before")(written_date)

    @model_validator(mode="after")
    def _result_is_one(self) -> PathologyRow:
        if self.positive is None:
            words = ", ".join(WORDS[self.test])
            percent = " or a tumour proportion score from 0 to 100" if self.test is TissueTest.PDL1 else ""
            raise ValueError(f"result: must be one of {words}{percent}")
        return self

    @property
    def positive(self) -> bool | None:
        """Whether the result is that of a mutant, of a positive tumour; None where it is neither."""
        word = self.result.strip().lower()
        percent = as_number(word.removesuffix("%").strip())
        if self.test is TissueTest.PDL1 and percent is not None and 0 <= percent <= 100:
            return percent >= PDL1_POSITIVE_PERCENT
        return WORDS[self.test].get(word)


def read_csv(path: Path) -> Reading:
    """Return the results of a CSV file.

    Raises
    ------
    UsageError
        a row is wrong: then nothing of the file counts
    """
    return Reading(
        tuple(
            TissueResult(
                Subject(row.patient_id, row.issuer_of_patient_id), row.test, bool(row.positive), row.taken_on, place
            )
            for place, row in read_rows(OPTION, path, PathologyRow)
        )
    )
