"""Area under the ROC curve, DeLong's interval and DeLong's test (DeLong et al. 1988, Biometrics 44:837).

No library that we use has DeLong's variance. The structural components come from ranks (Sun and Xu 2014, IEEE Signal
Process. Lett. 21:1389), so that ten thousand patients need no table of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training_export.evaluation.estimates import Floats, Interval, NotEstimableError, around, two_sided_p

Labels = NDArray[Any]  # 0 and 1, whole or not


@dataclass(frozen=True, eq=False)
class Components:
    """For each positive the share of negatives that it outscores, and for each negative that of the positives over it."""

    positives: Floats
    negatives: Floats

    @property
    def auc(self) -> float:
        """The share of positive-negative pairs in the right order, ties counting half."""
        return float(self.positives.mean())

    def covariance(self, other: Components) -> float:
        """Return DeLong's covariance of two areas over the same patients; with itself, the variance."""
        if min(len(self.positives), len(self.negatives)) < 2:
            raise NotEstimableError("fewer than two patients in a class")
        pairs = ((self.positives, other.positives), (self.negatives, other.negatives))
        return float(sum(np.cov(a, b, ddof=1)[0, 1] / len(a) for a, b in pairs))


@dataclass(frozen=True)
class AreaDifference:
    """Two areas: the first minus the second, with its interval and DeLong's test."""

    first: float
    second: float
    difference: float
    ci95: Interval
    z: float
    p: float


def components(labels: Labels, scores: Floats) -> Components:
    """Return the structural components; ``labels`` are 0 and 1.

    Raises
    ------
    NotEstimableError
        there is only one class
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    if not len(positive) or not len(negative):
        raise NotEstimableError(f"one class only: {len(positive)} positive, {len(negative)} negative")
    rank = rankdata(np.concatenate([positive, negative]))
    below = rank[: len(positive)] - rankdata(positive)
    above = len(positive) - (rank[len(positive) :] - rankdata(negative))
    return Components(below / len(negative), above / len(positive))


def auc(labels: Labels, scores: Floats) -> float:
    """Return the share of positive-negative pairs in the right order, ties counting half."""
    return components(labels, scores).auc


def auc_interval(labels: Labels, scores: Floats) -> Interval:
    """Return DeLong's normal 95 % interval, clipped to 0..1.

    Raises
    ------
    NotEstimableError
        fewer than two patients in a class, or all scores are the same
    """
    found = components(labels, scores)
    _require_spread(scores)
    low, high = around(found.auc, float(np.sqrt(found.covariance(found))))
    return max(low, 0.0), min(high, 1.0)


def auc_interval_logit(labels: Labels, scores: Floats) -> Interval:
    """Return DeLong's interval made on the logit of the area: never outside 0..1, and better near 1.

    Raises
    ------
    NotEstimableError
        as ``auc_interval``, or the classes do not overlap
    """
    found = components(labels, scores)
    _require_spread(scores)
    area, error = found.auc, float(np.sqrt(found.covariance(found)))
    if error == 0.0 or not 0.0 < area < 1.0:
        raise NotEstimableError("the classes do not overlap, so DeLong's variance is 0")
    low, high = around(float(np.log(area / (1 - area))), error / (area * (1 - area)))
    return float(1 / (1 + np.exp(-low))), float(1 / (1 + np.exp(-high)))


def paired_difference(labels: Labels, first: Floats, second: Floats) -> AreaDifference:
    """Compare two models on the same patients."""
    a, b = components(labels, first), components(labels, second)
    return _difference(a, b, a.covariance(a) + b.covariance(b) - 2 * a.covariance(b))


def independent_difference(a: Components, b: Components) -> AreaDifference:
    """Compare areas of two groups that share no patient."""
    return _difference(a, b, a.covariance(a) + b.covariance(b))


def _difference(a: Components, b: Components, variance: float) -> AreaDifference:
    if variance <= 1e-15:  # what rounding leaves of 0
        raise NotEstimableError("the variance of the difference is 0")
    error = float(np.sqrt(variance))
    difference = a.auc - b.auc
    z = difference / error
    return AreaDifference(a.auc, b.auc, difference, around(difference, error), z, two_sided_p(z))


def _require_spread(scores: Floats) -> None:
    if scores.min() == scores.max():
        raise NotEstimableError("all scores are the same")
