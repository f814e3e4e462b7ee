"""AUC, DeLong's interval and test: against the definition, other libraries, and published figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from training_export.evaluation.discrimination import (
    auc,
    auc_interval,
    auc_interval_logit,
    components,
    independent_difference,
    paired_difference,
)
from training_export.evaluation.estimates import NotEstimableError

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 1])
SCORES = np.array([0.9, 0.8, 0.4, 0.5, 0.3, 0.2, 0.4, 0.7])
OTHER = np.array([0.2, 0.9, 0.6, 0.5, 0.6, 0.1, 0.3, 0.7])
# DeLong et al. 1988, as the SAS/STAT example of the LOGISTIC procedure prints them: 43 patients with all three tests;
# albumin, total protein, K-G score (higher is worse, so 10 - it), whether surgery helped
OVARIAN_TEXT = """
    3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
    3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
    4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
    4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
    2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1"""
OVARIAN = np.array([float(word) for word in OVARIAN_TEXT.split()]).reshape(-1, 4)
Floats = NDArray[np.float64]


def pairs(labels: Floats, scores: Floats) -> Floats:
    """Return DeLong's psi as the paper defines it, ``[positives, negatives]``."""
    difference = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return (difference > 0) + 0.5 * (difference == 0)


def variance_of_difference(labels: Floats, first: Floats, second: Floats) -> float:
    """Return L S L' by the paper: S = S10 / m + S01 / n over the structural components of both models."""
    matrices = [pairs(labels, scores) for scores in (first, second)]
    m, n = matrices[0].shape
    s10 = np.cov([p.mean(axis=1) for p in matrices])
    s01 = np.cov([p.mean(axis=0) for p in matrices])
    contrast = np.array([1, -1])
    return float(contrast @ (s10 / m + s01 / n) @ contrast)


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Labels of both classes, and two models' scores on a coarse grid, so that there are ties."""
    n = draw(st.integers(4, 40))
    labels = np.array([1, 1, 0, 0, *draw(st.lists(st.integers(0, 1), min_size=n - 4, max_size=n - 4))], np.float64)
    grid = st.lists(st.integers(0, 12), min_size=n, max_size=n)
    return labels, np.array(draw(grid)) / 12, np.array(draw(grid)) / 12


@settings(deadline=None)
@given(cohorts())
def test_auc_is_that_of_two_other_libraries(cohort: tuple[Floats, Floats, Floats]) -> None:
    labels, scores, _ = cohort
    u = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    assert auc(labels, scores) == pytest.approx(u / ((labels == 1).sum() * (labels == 0).sum()), abs=1e-12)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@settings(deadline=None)
@given(cohorts())
def test_components_and_variance_are_those_of_the_pairs(cohort: tuple[Floats, Floats, Floats]) -> None:
    """Ranks give what the table of all pairs gives."""
    labels, scores, other = cohort
    found, matrix = components(labels, scores), pairs(labels, scores)
    np.testing.assert_allclose(found.positives, matrix.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(found.negatives, matrix.mean(axis=0), atol=1e-12)
    variance = sum(matrix.mean(axis=1 - a).var(ddof=1) / matrix.shape[a] for a in (0, 1))
    assert found.covariance(found) == pytest.approx(variance, abs=1e-12)
    wanted = variance_of_difference(labels, scores, other)
    if wanted > 1e-12:
        difference = paired_difference(labels, scores, other)
        assert difference.z == pytest.approx((auc(labels, scores) - auc(labels, other)) / np.sqrt(wanted), rel=1e-9)


@settings(deadline=None)
@given(cohorts())
def test_intervals_hold_the_area_and_stay_in_bounds(cohort: tuple[Floats, Floats, Floats]) -> None:
    labels, scores, _ = cohort
    for interval in (auc_interval, auc_interval_logit):
        try:
            low, high = interval(labels, scores)
        except NotEstimableError:
            continue
        assert 0 <= low <= auc(labels, scores) <= high <= 1


@settings(deadline=None)
@given(cohorts())
def test_turning_scores_round_turns_the_area_round(cohort: tuple[Floats, Floats, Floats]) -> None:
    labels, scores, _ = cohort
    assert auc(labels, 1 - scores) == pytest.approx(1 - auc(labels, scores), abs=1e-12)


@pytest.mark.parametrize(("column", "area", "error"), [(0, 0.7366, 0.0927), (1, 0.6478, 0.1000), (2, 0.7258, 0.1028)])
def test_the_paper_s_patients_as_sas_prints_them(column: int, area: float, error: float) -> None:
    """Areas and standard errors of albumin, total protein and K-G score by DeLong's method."""
    found = components(OVARIAN[:, 3], OVARIAN[:, column] * (-1 if column == 2 else 1))
    assert (found.auc, np.sqrt(found.covariance(found))) == pytest.approx((area, error), abs=5e-5)


def test_interval_by_hand() -> None:
    """Two positives over two negatives: components 1, 0.5 and 0.5, 1; variance (0.125 + 0.125) / 2."""
    labels, scores = np.array([1, 1, 0, 0]), np.array([0.9, 0.5, 0.6, 0.1])
    assert auc(labels, scores) == 0.75
    low, high = auc_interval(labels, scores)
    assert low == pytest.approx(0.75 - 1.959964 * np.sqrt(0.125), abs=1e-6)
    assert high == 1.0  # clipped


def test_ten_thousand_patients_need_no_table_of_pairs() -> None:
    """The area of a known distribution: two normals one standard deviation apart, Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], 100_000)
    scores = rng.normal(labels, 1)
    low, high = auc_interval(labels, scores)
    assert low < 0.7602 < high
    assert high - low < 0.005


def test_perfect_order_has_no_width() -> None:
    """Without a wrong pair DeLong's variance is 0; on the logit there is no interval."""
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    assert auc_interval(labels, scores) == (1.0, 1.0)
    with pytest.raises(NotEstimableError, match="do not overlap"):
        auc_interval_logit(labels, scores)


@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], "one class only: 3 positive, 0 negative"),
        ([1, 0, 0], [0.3, 0.1, 0.2], "fewer than two patients in a class"),
        ([1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5], "all scores are the same"),
    ],
)
def test_no_interval_where_the_data_give_none(labels: list[int], scores: list[float], reason: str) -> None:
    with pytest.raises(NotEstimableError, match=reason):
        auc_interval(np.array(labels), np.array(scores))


def test_models_that_order_alike_are_not_compared() -> None:
    with pytest.raises(NotEstimableError, match="variance of the difference is 0"):
        paired_difference(LABELS, SCORES, SCORES**2)


def test_groups_without_common_patients_add_their_variances() -> None:
    a, b = components(LABELS, SCORES), components(LABELS, OTHER)
    found = independent_difference(a, b)
    assert found.difference == a.auc - b.auc
    assert found.z == pytest.approx(found.difference / np.sqrt(a.covariance(a) + b.covariance(b)))
