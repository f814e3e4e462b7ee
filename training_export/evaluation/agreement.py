"""How far repeated regions of interest give the same score: intraclass correlation.

After Shrout and Fleiss (1979, Psychol Bull 86:420) and McGraw and Wong (1996, Psychol Methods 1:30). statsmodels, SciPy
and scikit-learn have none, so the mean squares are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import f as f_distribution

from training_export.evaluation.estimates import CONFIDENCE, Floats, Interval, NotEstimableError, Reasons

UPPER = (1 + CONFIDENCE) / 2
NEGLIGIBLE = 1e-14  # of the sum of squares


@dataclass(frozen=True)
class MeanSquares:
    """The two-way analysis of variance of ``n`` patients by ``k`` raters: between rows, columns, within rows, error."""

    n: int
    k: int
    rows: float
    columns: float
    within: float
    error: float


@dataclass(frozen=True)
class Icc:
    """The coefficient with its F-based interval."""

    value: float
    ci95: Interval


def mean_squares(scores: Floats) -> MeanSquares:
    """Return the mean squares of ``scores`` ``[patients, raters]``.

    Raises
    ------
    NotEstimableError
        fewer than two patients or raters, or no patient differs from another
    """
    n, k = scores.shape
    if n < 2 or k < 2:
        raise NotEstimableError(f"{n} patients with a score by each of {k} raters; at least two of both")
    if scores.max() == scores.min():
        raise NotEstimableError("all scores are the same")
    grand, row, column = scores.mean(), scores.mean(axis=1), scores.mean(axis=0)
    rows = k * float(((row - grand) ** 2).sum())
    columns = n * float(((column - grand) ** 2).sum())
    within = _without_rounding(float(((scores - row[:, None]) ** 2).sum()), rows)
    error = _without_rounding(within - columns, rows)
    return MeanSquares(n, k, rows / (n - 1), columns / (k - 1), within / (n * (k - 1)), error / ((n - 1) * (k - 1)))


def _without_rounding(residual: float, whole: float) -> float:
    """Return a sum of squares, 0 where it is only what rounding left of it."""
    return residual if residual > NEGLIGIBLE * whole else 0.0


def icc_2_1(scores: Floats) -> Icc:
    """Return two-way random effects, absolute agreement, single rater: raters stand for others like them."""
    m = mean_squares(scores)
    n, k = m.n, m.k
    r = (m.rows - m.error) / (m.rows + (k - 1) * m.error + k * (m.columns - m.error) / n)
    if r == 1.0:
        raise NotEstimableError("the raters agree in every patient, so there is no variance to make an interval of")
    a, b = k * r / (n * (1 - r)), 1 + k * r * (n - 1) / (n * (1 - r))
    v = (a * m.columns + b * m.error) ** 2 / ((a * m.columns) ** 2 / (k - 1) + (b * m.error) ** 2 / ((n - 1) * (k - 1)))
    f1, f2 = f_distribution.ppf(UPPER, n - 1, v), f_distribution.ppf(UPPER, v, n - 1)
    spread = k * m.columns + (k * n - k - n) * m.error
    low = n * (m.rows - f1 * m.error) / (f1 * spread + n * m.rows)
    high = n * (f2 * m.rows - m.error) / (spread + n * f2 * m.rows)
    return Icc(r, (float(low), float(high)))


def icc_1_1(scores: Floats) -> Icc:
    """Return one-way random effects, single rater: each patient has raters of its own."""
    m = mean_squares(scores)
    f = _ratio(m.rows, m.within)
    low = f / f_distribution.ppf(UPPER, m.n - 1, m.n * (m.k - 1))
    high = f * f_distribution.ppf(UPPER, m.n * (m.k - 1), m.n - 1)
    return _of_ratio(m.k, f, low, high)


def icc_3_1(scores: Floats) -> Icc:
    """Return two-way mixed effects, consistency, single rater: a rater's constant shift does not count."""
    m = mean_squares(scores)
    f, df = _ratio(m.rows, m.error), (m.n - 1) * (m.k - 1)
    low = f / f_distribution.ppf(UPPER, m.n - 1, df)
    high = f * f_distribution.ppf(UPPER, df, m.n - 1)
    return _of_ratio(m.k, f, low, high)


def _ratio(rows: float, residual: float) -> float:
    if residual == 0.0:
        raise NotEstimableError("no variance between the raters of a patient")
    return rows / residual


def _of_ratio(k: int, *ratios: float) -> Icc:
    value, low, high = ((f - 1) / (f + k - 1) for f in ratios)
    return Icc(float(value), (float(low), float(high)))


FORMS: Mapping[str, tuple[str, Callable[[Floats], Icc]]] = {
    "icc": ("ICC(2,1)", icc_2_1),
    "icc_1_1": ("ICC(1,1)", icc_1_1),
    "icc_3_1": ("ICC(3,1)", icc_3_1),
}


def agreement(scores: Floats, reasons: Reasons) -> dict[str, Any]:
    """Return the family's entry for ``scores`` ``[patients, raters]``; only patients scored by all raters count."""
    known = ~np.isnan(scores)
    complete = known.all(axis=1)
    entry: dict[str, Any] = {
        "raters": scores.shape[1],
        "patients": int(complete.sum()),
        "patients_not_scored_by_all": int((known.any(axis=1) & ~complete).sum()),
    }
    for key, (form, estimate) in FORMS.items():
        icc = reasons.of(key, partial(estimate, scores[complete]))
        entry[key] = {"form": form, "value": icc and icc.value, "ci95": icc and icc.ci95}
    return entry
