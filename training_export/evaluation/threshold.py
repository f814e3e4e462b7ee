"""Sensitivity, specificity and what follows at one cut-off, with Wilson intervals; and cut-offs that one may choose."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve
from statsmodels.stats.proportion import proportion_confint

from training_export.evaluation.estimates import CONFIDENCE, Floats, Interval, NotEstimableError, Reasons
from training_export.evaluation.resampling import resampled

DENOMINATORS = {
    "accuracy": "patient",
    "sensitivity": "positive patient",
    "specificity": "negative patient",
    "ppv": "patient with a high score",
    "npv": "patient with a low score",
}
WANTED = 0.90  # the sensitivity, or specificity, that a cut-off may be asked for
RESAMPLES = 200


@dataclass(frozen=True)
class Counts:
    """Patients by label and by score at or above a cut-off."""

    tp: int
    tn: int
    fp: int
    fn: int

    @property
    def proportions(self) -> dict[str, tuple[int, int]]:
        """Numerator and denominator of each proportion."""
        return {
            "accuracy": (self.tp + self.tn, self.tp + self.tn + self.fp + self.fn),
            "sensitivity": (self.tp, self.tp + self.fn),
            "specificity": (self.tn, self.tn + self.fp),
            "ppv": (self.tp, self.tp + self.fp),
            "npv": (self.tn, self.tn + self.fn),
        }


def counts(labels: Floats, scores: Floats, cut_off: float) -> Counts:
    """Count; a score at the cut-off is high."""
    positive, high = labels == 1, scores >= cut_off
    tallied = (positive & high, ~positive & ~high, ~positive & high, positive & ~high)
    return Counts(*(int(mask.sum()) for mask in tallied))


def share(k: int, n: int, of: str) -> float:
    """Return ``k / n``; NotEstimableError where there is no such patient."""
    if n == 0:
        raise NotEstimableError(f"there is no {of}")
    return k / n


def wilson(k: int, n: int) -> Interval:
    """Return the 95 % interval of ``k`` of ``n``, ``n`` above 0 (Wilson 1927, J Am Stat Assoc 22:209)."""
    low, high = proportion_confint(k, n, alpha=1 - CONFIDENCE, method="wilson")
    return 0.0 if k == 0 else float(low), 1.0 if k == n else float(high)  # as on paper, not what rounding leaves


def at_cut_off(labels: Floats, scores: Floats, cut_off: float, reasons: Reasons) -> dict[str, Any]:
    """Return counts, proportions and their intervals."""
    found = counts(labels, scores, cut_off)
    entry: dict[str, Any] = asdict(found)
    for name, (k, n) in found.proportions.items():
        entry[name] = reasons.of(name, partial(share, k, n, DENOMINATORS[name]))
        entry[f"{name}_ci95_wilson"] = wilson(k, n) if n else None
    return entry


@dataclass(frozen=True, eq=False)
class Curve:
    """The ROC curve: a score at or above ``cut_offs`` (falling; the first is infinite, nobody is high) is high."""

    cut_offs: Floats
    sensitivity: Floats
    specificity: Floats

    def entry(self, at: int) -> dict[str, float] | None:
        """Return one point; None for the one that calls nobody high."""
        point = (self.cut_offs[at], self.sensitivity[at], self.specificity[at])
        names = ("cut_off", "sensitivity", "specificity")
        return {name: float(value) for name, value in zip(names, point, strict=True)} if at else None

    @property
    def best(self) -> int:
        """Where sensitivity + specificity is largest (Youden 1950, Cancer 3:32); of several the highest cut-off."""
        return 1 + int(np.argmax((self.sensitivity + self.specificity)[1:]))


def curve(labels: Floats, scores: Floats) -> Curve:
    """Return the ROC curve of two classes."""
    false_positive, sensitivity, cut_offs = roc_curve(labels, scores, drop_intermediate=False)
    return Curve(cut_offs, sensitivity, 1 - false_positive)


def choices(labels: Floats, scores: Floats) -> dict[str, Any]:
    """Return cut-offs that these patients suggest, with what each gives on the same patients.

    For Youden's the bootstrap says how much of it is luck: ``index_corrected`` is the index less its optimism (Harrell et
    al. 1996, Stat Med 15:361), and ``cut_off_ci95_bootstrap`` where the choice falls in other samples.

    Raises
    ------
    NotEstimableError
        there is only one class, or all scores are the same
    """
    if len(np.unique(labels)) < 2 or scores.min() == scores.max():
        raise NotEstimableError("one class only, or all scores are the same")
    found = curve(labels, scores)
    optimism, chosen = _optimism(labels, scores)
    index = float(found.sensitivity[found.best] + found.specificity[found.best] - 1)
    tails = np.quantile(chosen, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    luck = {
        "index": index,
        "index_corrected": index - optimism,
        "cut_off_ci95_bootstrap": [float(tail) for tail in tails],
    }
    return {
        "youden": {**(found.entry(found.best) or {}), **luck},
        "sensitivity_90": found.entry(int(np.argmax(found.sensitivity >= WANTED))),
        "specificity_90": found.entry(int(np.flatnonzero(found.specificity >= WANTED)[-1])),
    }


def _optimism(labels: Floats, scores: Floats) -> tuple[float, Floats]:
    """Return how much better Youden's index is where it was chosen, and the cut-offs chosen, over ``RESAMPLES`` samples."""
    drawn = resampled(labels, scores, RESAMPLES)
    rates = drawn.sensitivity + drawn.specificity
    best = rates.argmax(axis=1)
    found = curve(labels, scores)
    there = (found.sensitivity + found.specificity)[1:][best]
    return float((rates.max(axis=1) - there).mean()), drawn.cut_offs[best]
