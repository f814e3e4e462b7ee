"""``--labels``: what the site states of each patient, one row a patient (docs/cohort.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from egfr_dls.errors import UsageError
from training_export.pathology.results import Subject
from training_export.pathology.rows import read_rows

OPTION = "--labels"
LABELS = ("label", "pdl1_label")
FOLLOW_UP = ("cohort", "histology", "treatment", "pfs_months", "pfs_days", "progression", "response")
Binary = Literal["0", "1"]


class LabelRow(BaseModel):
    """One row; a column that is left out, or an empty cell, is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    patient_id: str = Field(max_length=64)  # (0010,0020)
    issuer_of_patient_id: str = Field("", max_length=64)  # (0010,0021)
    label: Binary | None = None  # 1: EGFR mutant
    pdl1_label: Binary | None = None  # 1: tumour proportion score of 1 % or more
    cohort: str | None = Field(None, max_length=32, pattern=r"^[A-Za-z0-9_-]+$")
    histology: Literal["adenocarcinoma", "squamous", "other"] | None = None
    treatment: Literal["TKI", "ICI", "other"] | None = None
    pfs_months: float | None = Field(None, ge=0)
    pfs_days: float | None = Field(None, ge=0)
    progression: Binary | None = None
    response: Literal["CR", "PR", "SD", "PD"] | None = None

    @model_validator(mode="after")
    def _one_unit_of_time(self) -> LabelRow:
        if self.pfs_months is not None and self.pfs_days is not None:
            raise ValueError("pfs_months and pfs_days are both given; needed: one")
        return self

    @property
    def subject(self) -> Subject:
        """Who is meant."""
        return Subject(self.patient_id, self.issuer_of_patient_id)

    @property
    def stated(self) -> dict[str, str]:
        """The columns that say something, as text."""
        values = self.model_dump(exclude_none=True, include={*LABELS, *FOLLOW_UP})
        return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items()}


def read_labels(path: Path) -> Mapping[Subject, tuple[str, LabelRow]]:
    """Return each patient's row and its place. A row that stands twice with the same content counts once.

    Raises
    ------
    UsageError
        a row is wrong, or two of one patient differ: the message names the lines
    """
    rows: dict[Subject, tuple[str, LabelRow]] = {}
    for place, row in read_rows(OPTION, path, LabelRow):
        first, known = rows.setdefault(row.subject, (place, row))
        if known != row:
            raise UsageError(
                f"{OPTION} {place}: is of the same patient as {first}, and says otherwise; needed: one row a patient"
            )
    if all(any(getattr(row, unit) is not None for _, row in rows.values()) for unit in ("pfs_months", "pfs_days")):
        raise UsageError(
            f"{OPTION} {path.name}: pfs_months in some rows, pfs_days in others; needed: one of them throughout"
        )
    return rows
