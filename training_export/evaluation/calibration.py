"""Whether a score of 0.7 means seven mutants in ten: reliability curve, Brier score, logistic recalibration."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import statsmodels.api as sm
from sklearn.metrics import brier_score_loss
from statsmodels.genmod.generalized_linear_model import GLM, GLMResults

from training_export.evaluation.estimates import Floats, NotEstimableError, Reasons
from training_export.evaluation.threshold import wilson

BINS = 10
SMALLEST = 1e-7  # scores nearer to 0 or 1 count as this far from it: their logit is infinite, or decides alone
TOLERANCE = 1e-12
STEPS = 200


def reliability(labels: Floats, scores: Floats) -> list[dict[str, Any]]:
    """Return up to ten bins with as many patients each: mean score, share of positives and its Wilson interval.

    Equal scores share a bin (the one of their mean rank), so the order of the patients changes nothing.
    """
    _, inverse, number = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = (np.cumsum(number) - number + (number - 1) / 2)[inverse]
    bins = np.floor((mean_rank + 0.5) * min(BINS, len(scores)) / len(scores)).astype(int)
    return [_bin(labels[bins == b], scores[bins == b]) for b in np.unique(bins)]


def _bin(labels: Floats, scores: Floats) -> dict[str, Any]:
    k, n = int(labels.sum()), len(labels)
    return {"n": n, "mean_score": float(scores.mean()), "observed": k / n, "observed_ci95_wilson": wilson(k, n)}


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """Return the mean distance of mean score and observed share over the bins, each by its patients (Naeini et al. 2015)."""
    total = sum(b["n"] for b in bins)
    return float(sum(b["n"] / total * abs(b["observed"] - b["mean_score"]) for b in bins))


def calibration(labels: Floats, scores: Floats, reasons: Reasons) -> dict[str, Any]:
    """Return the family's entry.

    ``slope`` and ``intercept`` are of the logistic regression of the label on logit(score) (Cox 1958, Biometrika 45:562):
    1 and 0 where the score is the probability. ``in_the_large`` is the intercept where the slope is held at 1.
    """
    bins = reliability(labels, scores)
    near = int(((scores < SMALLEST) | (scores > 1 - SMALLEST)).sum())
    if near:
        reasons.remark("slope", f"{near} scores lie within {SMALLEST:g} of 0 or 1 and were taken as that far from it")
    logit = np.log(np.clip(scores, SMALLEST, 1 - SMALLEST) / (1 - np.clip(scores, SMALLEST, 1 - SMALLEST)))
    line = reasons.of("slope", partial(_line, labels, logit))
    shift = reasons.of("in_the_large", partial(_shift, labels, logit))
    return {
        "n": len(labels),
        "brier": float(brier_score_loss(labels, scores)),
        "ece": expected_calibration_error(bins),
        **_coefficient("intercept", line, 0),
        **_coefficient("slope", line, 1),
        **_coefficient("in_the_large", shift, 0),
        "bins": bins,
    }


def _line(labels: Floats, logit: Floats) -> GLMResults:
    _require_overlap(labels, logit)
    columns = sm.add_constant(logit, has_constant="add")
    return _fitted(GLM(labels, columns, family=sm.families.Binomial()), start=[0.0, 1.0])


def _shift(labels: Floats, logit: Floats) -> GLMResults:
    if len(np.unique(labels)) < 2:
        raise NotEstimableError("one class only")
    return _fitted(GLM(labels, np.ones(len(labels)), family=sm.families.Binomial(), offset=logit), start=[0.0])


def _fitted(model: GLM, start: list[float]) -> GLMResults:
    """Fit from ``start``, where the score is the probability, else from the middle of labels and one half.

    An overflow on the way is a probability of 0.
    """
    for first in (start, None):
        with np.errstate(over="ignore"):
            fit = model.fit(start_params=first, tol=TOLERANCE, tol_criterion="params", maxiter=STEPS)
        if fit.converged and np.isfinite(fit.bse).all():
            return fit
    raise NotEstimableError("the fit does not settle: scores of nearly 0 or 1 are of the other class")


def _require_overlap(labels: Floats, logit: Floats) -> None:
    """A logistic regression has an answer only where the scores of the classes overlap (Albert and Anderson 1984)."""
    positive, negative = logit[labels == 1], logit[labels == 0]
    if not len(positive) or not len(negative):
        raise NotEstimableError("one class only")
    if logit.min() == logit.max():
        raise NotEstimableError("all scores are the same")
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        raise NotEstimableError("the scores of the two classes do not overlap")


def _coefficient(name: str, fit: GLMResults | None, at: int) -> dict[str, Any]:
    if fit is None:
        return {name: None, f"{name}_ci95": None}
    return {name: float(fit.params[at]), f"{name}_ci95": [float(v) for v in fit.conf_int()[at]]}
