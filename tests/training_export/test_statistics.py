"""AUC and DeLong's interval against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from training_export.statistics import auc, auc_interval

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 1])
SCORES = np.array([0.9, 0.8, 0.4, 0.5, 0.3, 0.2, 0.4, 0.7])


def test_auc_is_the_mann_whitney_statistic() -> None:
    """An independent implementation gives the same, ties included."""
    u = mannwhitneyu(SCORES[LABELS == 1], SCORES[LABELS == 0]).statistic
    assert auc(LABELS, SCORES) == pytest.approx(u / 16, abs=1e-12)


def test_interval_by_hand() -> None:
    """Two positives over two negatives: components 1, 0.5 and 0.5, 1; variance (0.125 + 0.125) / 2."""
    labels, scores = np.array([1, 1, 0, 0]), np.array([0.9, 0.5, 0.6, 0.1])
    assert auc(labels, scores) == 0.75
    low, high = auc_interval(labels, scores)
    assert low == pytest.approx(0.75 - 1.959964 * np.sqrt(0.125), abs=1e-6)
    assert high == 1.0  # clipped


def test_perfect_order_has_no_width() -> None:
    """Without a wrong pair DeLong's variance is 0."""
    assert auc_interval(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])) == (1.0, 1.0)
