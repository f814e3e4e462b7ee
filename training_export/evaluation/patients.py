"""The patients of an evaluation: what ``patients.csv`` knows of each, by row and without any identifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from egfr_dls.errors import UsageError
from training_export.evaluation.estimates import Floats
from training_export.evaluation.tables import Table, Texts, read_table

ONE_COHORT = "all"
MAX_GROUPS = 20  # of a cohort or strata column: more are no groups, and may be identifiers
EVENT = "0 or 1, or blank for unknown"
RESPONSES = {"": np.nan, "0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0, "cr": 1.0, "pr": 1.0, "sd": 0.0, "pd": 0.0,
             "ne": np.nan}  # fmt: skip  # RECIST 1.1: a response is complete or partial
HALVED = ("age", "suvmax")  # measured, so that a stratum is a half
NO_STRATA = ("patient", "pfs_months", "pfs_days")


@dataclass(frozen=True, eq=False)
class Patients:
    """Columns of equal length, a patient an entry; NaN and "" are unknown.

    ``row`` is where the patient stands in the file; times are months; ``response`` 1 is CR or PR.
    """

    row: NDArray[np.int64]
    cohort: Texts
    label: Floats
    pdl1_label: Floats
    histology: Texts
    sex: Texts
    treatment: Texts
    age: Floats
    suvmax: Floats
    months: Floats
    progression: Floats
    response: Floats
    stratum: Texts

    def __len__(self) -> int:
        return len(self.cohort)

    def select(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Patients:
        """Return some of the patients."""
        return replace(self, **{field.name: getattr(self, field.name)[which] for field in fields(self)})


@dataclass(frozen=True, eq=False)
class PatientTable:
    """The patients, which row is whose, and the file's digest. Identifiers stay here and go nowhere."""

    patients: Patients
    row_of: Mapping[str, int]
    sha256: str


def read_patients(path: Path, days_per_month: float, strata: str | None) -> PatientTable:
    """Read ``patients.csv``.

    Raises
    ------
    UsageError
        a patient stands twice, a cell is not what its column holds, or a column of groups has no groups
    """
    table = read_table("--patients", path, ["patient"])
    identifiers = table.text("patient")
    table.require(identifiers != "", "patient", "blank", "an opaque name for the patient")
    table.require_distinct([identifiers], "the patient")
    patients = Patients(
        row=table.rows,
        cohort=_groups(table, "cohort") if "cohort" in table.columns else np.full(len(table), ONE_COHORT, object),
        label=table.numbers("label", EVENT, among=(0, 1)),
        pdl1_label=table.numbers("pdl1_label", EVENT, among=(0, 1)),
        histology=_lower(table.text("histology")),
        sex=_lower(table.text("sex")),
        treatment=_lower(table.text("treatment")),
        age=table.numbers("age", "years, 0 or more", low=0),
        suvmax=table.numbers("suvmax", "SUVbw in g/ml, 0 or more", low=0),
        months=_months(table, days_per_month),
        progression=table.numbers("progression", f"{EVENT}; 1 = progression", among=(0, 1)),
        response=_responses(table),
        stratum=_strata(table, strata),
    )
    return PatientTable(patients, {name: row for row, name in enumerate(identifiers)}, table.sha256)


def _months(table: Table, days_per_month: float) -> Floats:
    if {"pfs_months", "pfs_days"} <= set(table.columns):
        raise UsageError(f"{table.name}: both columns pfs_months and pfs_days; needed: one of them")
    days = table.numbers("pfs_days", "days, 0 or more", low=0) / days_per_month
    return days if "pfs_days" in table.columns else table.numbers("pfs_months", "months, 0 or more", low=0)


def _responses(table: Table) -> Floats:
    cells = _lower(table.text("response"))
    known = np.fromiter((cell in RESPONSES for cell in cells), bool, len(cells))
    table.require(known, "response", "none of these", "CR, PR, SD, PD, NE, 0, 1, or blank for unknown")
    return np.array([RESPONSES[cell] for cell in cells], np.float64)


def _lower(texts: Texts) -> Texts:
    return np.array([text.lower() for text in texts], object)


def _groups(table: Table, column: str) -> Texts:
    cells = table.text(column)
    found = len(set(cells) - {""})
    if found > MAX_GROUPS:
        raise UsageError(
            f"{table.name}: column {column} has {found} different values; needed: at most {MAX_GROUPS}, the names of groups"
        )
    return np.where(cells == "", "unknown", cells)


def _strata(table: Table, column: str | None) -> Texts:
    if column is None:
        return np.full(len(table), "", object)
    if column in NO_STRATA or column not in table.columns:
        offered = ", ".join(sorted(set(table.columns) - {*NO_STRATA, ""}))
        raise UsageError(f"--strata {column}: no column of groups in {table.name}; there are: {offered or 'none'}")
    if column not in HALVED:
        return _groups(table, column)
    values = table.numbers(column, "a number, or blank for unknown")
    if np.isnan(values).all():
        raise UsageError(f"--strata {column}: no value in {table.name}; needed: some, to halve them")
    middle = float(np.nanmedian(values))
    halves = np.where(values <= middle, f"{column} <= {middle:g}", f"{column} > {middle:g}")
    return np.where(np.isnan(values), "unknown", halves).astype(object)
