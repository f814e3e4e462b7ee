"""Area under the ROC curve and its interval."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


def auc(labels: Labels, scores: Scores) -> float:
    """Return the share of positive-negative pairs in the right order, ties counting half."""
    return float(_pairs(labels, scores).mean())


def auc_interval(labels: Labels, scores: Scores, confidence: float = 0.95) -> tuple[float, float]:
    """Return DeLong's normal interval, clipped to 0..1 (DeLong et al. 1988, Biometrics 44:837)."""
    pairs = _pairs(labels, scores)
    variance = sum(pairs.mean(axis=1 - a).var(ddof=1) / pairs.shape[a] for a in (0, 1))
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * float(np.sqrt(variance))
    middle = float(pairs.mean())
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def _pairs(labels: Labels, scores: Scores) -> NDArray[np.float64]:
    """Return ``[positives, negatives]``: 1 where the positive scores higher, 0.5 for a tie."""
    difference = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return np.asarray((difference > 0) + 0.5 * (difference == 0), np.float64)
