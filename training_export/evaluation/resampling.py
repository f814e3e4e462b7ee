"""The bootstrap within the classes: what a ROC curve looks like in other patients of the same kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training_export.evaluation.estimates import CONFIDENCE, Floats, NotEstimableError

SEED = 20_201_019  # the same tables give the same document
BAND_RESAMPLES = 300
GRID = 101


@dataclass(frozen=True, eq=False)
class Resampled:
    """Sensitivity and specificity ``[samples, cut-offs]``; a score at or above ``cut_offs``, which fall, is high."""

    cut_offs: Floats
    sensitivity: Floats
    specificity: Floats


@dataclass(frozen=True, eq=False)
class Band:
    """Pointwise 95 % limits of the sensitivity on a grid of false-positive rates."""

    false_positive: Floats
    low: Floats
    high: Floats


def resampled(labels: Floats, scores: Floats, samples: int) -> Resampled:
    """Draw as many patients of each class again; a draw of patients is one of how often each score occurs."""
    rng = np.random.default_rng(SEED)
    cut_offs, at = np.unique(-scores, return_inverse=True)
    rates = []
    for value in (1, 0):
        number = np.bincount(at[labels == value], minlength=len(cut_offs))
        drawn = rng.multinomial(number.sum(), number / number.sum(), size=samples)
        rates.append(drawn.cumsum(axis=1) / number.sum())
    return Resampled(-cut_offs, rates[0], 1 - rates[1])


def roc_band(labels: Floats, scores: Floats) -> Band:
    """Return the band about the ROC curve.

    Raises
    ------
    NotEstimableError
        a class has fewer than two patients
    """
    if min(int((labels == value).sum()) for value in (0, 1)) < 2:
        raise NotEstimableError("fewer than two patients in a class")
    drawn = resampled(labels, scores, BAND_RESAMPLES)
    grid = np.linspace(0, 1, GRID)
    sensitivity = np.zeros((BAND_RESAMPLES, GRID))
    for i, false_positive in enumerate(1 - drawn.specificity):
        within = np.searchsorted(false_positive, grid + 1e-12, side="right")  # cut-offs with no more false positives
        sensitivity[i] = np.concatenate([[0.0], drawn.sensitivity[i]])[within]
    low, high = np.quantile(sensitivity, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return Band(grid, low, high)
