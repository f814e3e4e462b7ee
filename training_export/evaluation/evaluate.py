"""From the tables to one document: ``egfr-dls-evaluate/1`` (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egfr_dls import PRODUCT_VERSION
from egfr_dls.errors import UsageError
from training_export.evaluation.aggregation import Aggregation, aggregation
from training_export.evaluation.agreement import agreement
from training_export.evaluation.comparison import comparison, strata_tests
from training_export.evaluation.estimates import CONFIDENCE, Floats, Reasons
from training_export.evaluation.families import families
from training_export.evaluation.group import Group
from training_export.evaluation.integrity import integrity
from training_export.evaluation.pathway_cells import pathway_cells
from training_export.evaluation.patients import PatientTable, read_patients
from training_export.evaluation.slices import MODELS, ScoreFile, joined_labels, read_scores

SCHEMA = "egfr-dls-evaluate/1"
MAIN, COMPANION = MODELS


@dataclass(frozen=True)
class Request:
    """What to evaluate, and how."""

    slices: Path
    patients: Path
    compare: Path | None = None
    raters: tuple[Path, ...] = ()
    aggregate: str = "mean"
    cut_off: float = 0.5
    strata: str | None = None
    days_per_month: float = 30.0


@dataclass(frozen=True, eq=False)
class Inputs:
    """The tables as read, and the rule that makes patient scores."""

    table: PatientTable
    scores: ScoreFile
    compare: ScoreFile | None
    raters: tuple[ScoreFile, ...]
    rule: Aggregation

    def group(self, model: str) -> Group:
        """Return all patients with their scores by one model."""
        patients, slices = self.table.patients, self.scores.slices[model]
        label = joined_labels(patients, self.scores, model)
        return Group(patients, label, self.rule.scores(slices, len(patients)), slices)

    def score(self, file: ScoreFile) -> Floats:
        """Return each patient's EGFR score in another file."""
        return self.rule.scores(file.slices[MAIN], len(self.table.patients))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The document, and the patients of each cohort by which the plots are drawn."""

    document: dict[str, Any]
    cohorts: Mapping[str, Group]
    cut_off: float


def evaluate(request: Request) -> Evaluation:
    """Evaluate.

    Raises
    ------
    UsageError
        a table is not what it must be
    """
    inputs = _read(request)
    groups = {model: inputs.group(model) for model in MODELS}
    cohorts = {model: _by(group, group.patients.cohort) for model, group in groups.items()}
    reasons = Reasons()
    found = {
        "settings": _settings(request, inputs),
        "integrity": integrity(cohorts[MAIN], inputs.scores, request.cut_off),
        **families(cohorts[MAIN], request.cut_off, reasons),
        "comparison": _comparison(groups[MAIN], inputs, request.cut_off, reasons.at("comparison")),
        "agreement": _agreement(inputs, reasons.at("agreement")),
        "pathway_cells": pathway_cells(
            groups[MAIN].patients, groups[MAIN].score, groups[COMPANION].score, request.cut_off,
            reasons.at("pathway_cells"),
        ),
        **_strata(cohorts[MAIN], request, reasons),
        "pdl1": families(cohorts[COMPANION], request.cut_off, reasons.at("pdl1")),
    }  # fmt: skip
    document = {"schema": SCHEMA, **found, "not_estimable": reasons.not_estimable, "remarks": reasons.remarks}
    return Evaluation(document, cohorts[MAIN], request.cut_off)


def _read(request: Request) -> Inputs:
    if len(request.raters) == 1:
        raise UsageError("--raters: one file; needed: the scores of at least two raters")
    rule = aggregation(request.aggregate)
    table = read_patients(request.patients, request.days_per_month, request.strata)
    scores = read_scores("--slices", request.slices, table.row_of)
    if not any(len(slices) for slices in scores.slices.values()):
        raise UsageError(f"{scores.name}: none of its patients stands in --patients; needed: the same names in both")
    compare = None if request.compare is None else read_scores("--compare", request.compare, table.row_of)
    raters = tuple(read_scores("--raters", path, table.row_of) for path in request.raters)
    return Inputs(table, scores, compare, raters, rule)


def _by(group: Group, values: Any) -> dict[str, Group]:
    return {str(value): group.select(values == value) for value in sorted(set(values))}


def _settings(request: Request, inputs: Inputs) -> dict[str, Any]:
    digests: dict[str, Any] = {"slices": inputs.scores.sha256, "patients": inputs.table.sha256}
    if inputs.compare is not None:
        digests["compare"] = inputs.compare.sha256
    if inputs.raters:
        digests["raters"] = [rater.sha256 for rater in inputs.raters]
    return {
        "cut_off": request.cut_off,
        "aggregation": inputs.rule.name,
        "days_per_month": request.days_per_month,
        "strata": request.strata,
        "confidence": CONFIDENCE,
        "product_version": PRODUCT_VERSION,
        "input_sha256": digests,
    }


def _comparison(group: Group, inputs: Inputs, cut_off: float, reasons: Reasons) -> dict[str, Any]:
    """Return the comparison of all cohorts together and, where there are several, of each."""
    if inputs.compare is None:
        return {}
    second = inputs.score(inputs.compare)
    known = ~np.isnan(group.label) & ~np.isnan(group.score) & ~np.isnan(second)
    entry = comparison(group.label[known], group.score[known], second[known], cut_off, reasons)
    names = sorted(set(group.patients.cohort))
    if len(names) > 1:
        entry["cohorts"] = {}
        for name in names:
            kept = known & (group.patients.cohort == name)
            place = reasons.at("cohorts", name)
            entry["cohorts"][name] = comparison(group.label[kept], group.score[kept], second[kept], cut_off, place)
    return entry


def _agreement(inputs: Inputs, reasons: Reasons) -> dict[str, Any]:
    if not inputs.raters:
        return {}
    return agreement(np.stack([inputs.score(rater) for rater in inputs.raters], axis=1), reasons)


def _strata(cohorts: Mapping[str, Group], request: Request, reasons: Reasons) -> dict[str, Any]:
    """Return all families of each stratum, and within each cohort the test of each stratum against the others."""
    if request.strata is None:
        return {"strata": {}, "strata_tests": {}}
    split = {cohort: _by(group, group.patients.stratum) for cohort, group in cohorts.items()}
    values = sorted({value for by_value in split.values() for value in by_value})
    strata = {
        value: families(
            {cohort: by_value[value] for cohort, by_value in split.items() if value in by_value},
            request.cut_off,
            reasons.at("strata", value),
        )
        for value in values
    }
    tests = {cohort: strata_tests(by_value, reasons.at("strata_tests", cohort)) for cohort, by_value in split.items()}
    return {"strata": strata, "strata_tests": tests}
