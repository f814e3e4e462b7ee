"""From slice scores to one score a patient."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from egfr_dls.errors import UsageError
from inference.biomarkers.pet_ct_egfr.aggregate import AGGREGATES
from training_export.evaluation.estimates import Floats
from training_export.evaluation.slices import Slices

QUANTILE = re.compile(r"quantile[(:](0?\.[0-9]+|[01])\)?")
AREA_WEIGHTED = "area-weighted"
OFFERED = "mean, median, max, min, quantile:Q (0 to 1) or area-weighted"


@dataclass(frozen=True, eq=False)
class Aggregation:
    """A rule by its name; it takes scores and areas of one patient's slices."""

    name: str
    rule: Callable[[Floats, Floats], np.float64]

    def scores(self, slices: Slices, n_patients: int) -> Floats:
        """Return the score of each patient, NaN where none of the slices is theirs."""
        order = np.argsort(slices.patient, kind="stable")
        patients, starts = np.unique(slices.patient[order], return_index=True)
        score, area = slices.score[order], slices.area_mm2[order]
        found = np.full(n_patients, np.nan)
        for patient, start, end in zip(patients, starts, np.append(starts, len(order))[1:], strict=True):
            found[patient] = self.rule(score[start:end], area[start:end])
        return found


def _unweighted(rule: Callable[[Floats], np.float64]) -> Callable[[Floats, Floats], np.float64]:
    return lambda score, _area: rule(score)


def _area_weighted(score: Floats, area: Floats) -> np.float64:
    if len(score) == 1:
        return np.float64(score[0])
    if np.isnan(area).any():
        raise UsageError(
            f"--aggregate {AREA_WEIGHTED}: a slice has no area; needed: column area_mm2, filled in every row"
        )
    weighted: np.float64 = np.average(score, weights=area)
    return weighted


# mean and median are the service's own, so that a patient's class is what the report says
RULES: Mapping[str, Callable[[Floats], np.float64]] = {
    "mean": AGGREGATES["mean"], "median": AGGREGATES["median"], "max": np.max, "min": np.min,
}  # fmt: skip
LISTED = tuple(Aggregation(name, _unweighted(rule)) for name, rule in RULES.items())


def aggregation(name: str) -> Aggregation:
    """Return the rule that ``--aggregate`` names.

    Raises
    ------
    UsageError
        there is none of that name
    """
    if name in RULES:
        return Aggregation(name, _unweighted(RULES[name]))
    if name == AREA_WEIGHTED:
        return Aggregation(name, _area_weighted)
    quantile = QUANTILE.fullmatch(name)
    if quantile is None:
        raise UsageError(f"--aggregate {name}: no such rule; needed: {OFFERED}")
    share = float(quantile[1])
    return Aggregation(f"quantile({share:g})", _unweighted(lambda score: np.quantile(score, share)))
