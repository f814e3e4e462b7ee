"""The scores of an evaluation: slices of patients, by the patient's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from egfr_dls.errors import UsageError
from training_export.evaluation.estimates import Floats
from training_export.evaluation.patients import EVENT, Patients
from training_export.evaluation.tables import Table, Texts, read_table

MODELS = ("egfr", "pdl1")
LABEL_COLUMNS = {"egfr": "label", "pdl1": "pdl1_label"}
SUM_TOLERANCE = 1e-3
PROBABILITY = "a number from 0 to 1"


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices of one model: row of the patient, score of the positive class (p1), area in mm2 (NaN: not given)."""

    patient: NDArray[np.int64]
    score: Floats
    area_mm2: Floats

    def __len__(self) -> int:
        return len(self.patient)

    def select(self, kept: NDArray[np.bool_]) -> Slices:
        """Return the slices of the patients that are ``kept``, counted anew among those."""
        chosen = kept[self.patient]
        row = np.cumsum(kept) - 1
        return Slices(row[self.patient[chosen]], self.score[chosen], self.area_mm2[chosen])


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """The slices of each model in one file, the labels that stand there, and slices of patients that nobody knows."""

    name: str
    sha256: str
    slices: Mapping[str, Slices]
    labels: Mapping[str, Floats]
    unmatched: Mapping[str, int]


def read_scores(option: str, path: Path, row_of: Mapping[str, int]) -> ScoreFile:
    """Read a file of slices (``patient,slice,p0,p1``) or of patients (``patient,score``).

    Raises
    ------
    UsageError
        a slice stands twice, a score is no probability, or two labels of one patient contradict each other
    """
    table = read_table(option, path, ["patient"])
    score = _scores(table)
    model = _models(table)
    patient = table.text("patient")
    table.require(patient != "", "patient", "blank", "the patient's name in --patients")
    table.require_distinct([patient, model, table.text("slice")], "the slice")
    area = table.numbers("area_mm2", "mm2 above 0, or blank", low=np.nextafter(0, 1))
    label = table.numbers("label", EVENT, among=(0, 1))
    row = np.array([row_of.get(name, -1) for name in patient], np.int64)
    slices, labels, unmatched = {}, {}, {}
    for name in MODELS:
        of_model = model == name
        known = of_model & (row >= 0)
        slices[name] = Slices(row[known], score[known], area[known])
        labels[name] = _labels(table, len(row_of), np.where(known, row, -1), label)
        unmatched[name] = int((of_model & (row < 0)).sum())
    return ScoreFile(table.name, table.sha256, slices, labels, unmatched)


def joined_labels(patients: Patients, file: ScoreFile, model: str) -> Floats:
    """Return each patient's label for ``model``: of ``--patients``, else of the slices; both must agree."""
    column = LABEL_COLUMNS[model]
    given = np.asarray(getattr(patients, column))
    found = file.labels[model]
    contradicted = np.flatnonzero(given + found == 1)  # 0 and 1; NaN is no contradiction
    if len(contradicted):
        raise UsageError(
            f"{file.name}: the label of {len(contradicted)} patients is another than column {column} of --patients, "
            f"first in its row {patients.row[contradicted[0]]}; needed: the same, or one of them blank"
        )
    return np.where(np.isnan(given), found, given)


def _scores(table: Table) -> Floats:
    if {"slice", "p0", "p1"} <= set(table.columns):
        wild, mutant = (table.numbers(c, PROBABILITY, low=0, high=1, blank=False) for c in ("p0", "p1"))
        close = np.abs(wild + mutant - 1) <= SUM_TOLERANCE
        table.require(close, "p1", "p0 + p1 is not 1", f"a sum of 1 within {SUM_TOLERANCE:g}")
        return mutant
    if "score" in table.columns:
        return table.numbers("score", PROBABILITY, low=0, high=1, blank=False)
    raise UsageError(f"{table.name}: needed: columns patient,slice,p0,p1, or patient,score")


def _models(table: Table) -> Texts:
    given = np.array([cell.lower() or MODELS[0] for cell in table.text("model")], object)
    table.require(np.isin(given, MODELS), "model", "unknown", " or ".join(MODELS) + ", or blank for egfr")
    return given


def _labels(table: Table, n_patients: int, row: NDArray[np.int64], label: Floats) -> Floats:
    """Return the label of each patient from slices of one model, NaN where none stands; ``row`` -1 does not count."""
    known = (row >= 0) & ~np.isnan(label)
    found = np.full(n_patients, np.nan)
    found[row[known][::-1]] = label[known][::-1]  # the first that stands there
    agrees = ~known | (label == found[row])
    table.require(agrees, "label", "another label than an earlier slice of the patient", "one label for a patient")
    return found
