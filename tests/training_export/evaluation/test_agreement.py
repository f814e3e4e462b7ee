"""The intraclass correlation against the published table and another library's analysis of variance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from training_export.evaluation.agreement import agreement, icc_1_1, icc_2_1, icc_3_1, mean_squares
from training_export.evaluation.estimates import NotEstimableError, Reasons

# Shrout and Fleiss 1979, Psychol Bull 86:420, table 2: six targets by four judges
TABLE = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], np.float64)


def test_published_table() -> None:
    """Values of the paper's table 4; the interval of ICC(2,1) as McGraw and Wong's formula, used by R, gives it."""
    assert icc_1_1(TABLE).value == pytest.approx(0.17, abs=5e-3)
    assert icc_3_1(TABLE).value == pytest.approx(0.71, abs=5e-3)
    found = icc_2_1(TABLE)
    assert found.value == pytest.approx(0.2898, abs=5e-5)
    assert found.ci95 == pytest.approx((0.0188, 0.7611), abs=5e-5)


def test_mean_squares_are_those_of_another_library() -> None:
    frame = pd.DataFrame(
        [(t, j, TABLE[t, j]) for t in range(6) for j in range(4)], columns=["target", "judge", "score"]
    )
    squares = anova_lm(ols("score ~ C(target) + C(judge)", frame).fit())["mean_sq"]
    found = mean_squares(TABLE)
    assert (found.rows, found.columns, found.error) == pytest.approx(tuple(squares), rel=1e-9)
    within = anova_lm(ols("score ~ C(target)", frame).fit())["mean_sq"]["Residual"]
    assert found.within == pytest.approx(within, rel=1e-9)


@settings(deadline=None)
@given(st.integers(3, 12), st.integers(2, 5), st.integers(0, 10_000))
def test_intervals_hold_the_value(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((n, 1)) + 0.3 * rng.random((n, k))
    for form in (icc_1_1, icc_2_1, icc_3_1):
        found = form(scores)
        assert found.ci95[0] <= found.value <= found.ci95[1] <= 1 + 1e-12


def test_a_raters_constant_shift_counts_for_agreement_only() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random((30, 1)) + 0.05 * rng.random((30, 3))
    shifted = scores + np.array([0.0, 0.0, 0.5])
    assert icc_3_1(shifted).value == pytest.approx(icc_3_1(scores).value, abs=1e-12)
    assert icc_2_1(shifted).value < icc_2_1(scores).value - 0.1


def test_a_known_correlation_is_recovered() -> None:
    """Between patients variance 4, between raters none, error 1: ICC 0.8."""
    rng = np.random.default_rng(4)
    scores = rng.normal(0, 2, (4000, 1)) + rng.normal(0, 1, (4000, 3))
    assert icc_2_1(scores).value == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (np.ones((1, 3)), "1 patients with a score by each of 3 raters"),
        (np.full((5, 3), 0.5), "all scores are the same"),
        (np.linspace(0.1, 0.7, 5)[:, None].repeat(3, axis=1), "agree in every patient"),
    ],
)
def test_no_value_where_the_scores_give_none(scores: np.ndarray, reason: str) -> None:
    with pytest.raises(NotEstimableError, match=reason):
        icc_2_1(scores)


def test_only_patients_scored_by_all_count() -> None:
    scores = np.vstack([TABLE, [np.nan, 1, 2, 3], [np.nan] * 4])
    found = agreement(scores, Reasons())
    assert (found["patients"], found["patients_not_scored_by_all"], found["raters"]) == (6, 1, 4)
    assert found["icc"]["form"] == "ICC(2,1)"
    assert found["icc"]["value"] == icc_2_1(TABLE).value
