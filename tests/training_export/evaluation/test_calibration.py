"""Calibration against the definitions and other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.special import logit as logit_of

from training_export.evaluation.calibration import calibration, expected_calibration_error, reliability
from training_export.evaluation.estimates import Reasons


def simulated(n: int, intercept: float, slope: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores whose calibration has this intercept and slope."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 0.95, n)
    return (rng.random(n) < expit(intercept + slope * logit_of(scores))).astype(float), scores


def test_known_slope_and_intercept_are_recovered() -> None:
    labels, scores = simulated(20_000, -0.5, 0.6)
    found = calibration(labels, scores, Reasons())
    assert found["slope_ci95"][0] < 0.6 < found["slope_ci95"][1]
    assert found["intercept_ci95"][0] < -0.5 < found["intercept_ci95"][1]
    assert found["slope_ci95"][1] - found["slope_ci95"][0] < 0.1


def test_regression_is_the_maximum_of_the_likelihood() -> None:
    """By a general optimiser instead of Newton's method."""
    labels, scores = simulated(150, 0.3, 1.4, seed=5)
    x = logit_of(scores)

    def loss(beta: np.ndarray) -> float:
        z = beta[0] + beta[1] * x
        return float((np.logaddexp(0, z) - labels * z).sum())

    best = minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13, "maxiter": 5000}).x
    found = calibration(labels, scores, Reasons())
    assert (found["intercept"], found["slope"]) == pytest.approx(tuple(best), abs=1e-6)
    level = minimize(lambda b: loss(np.array([b[0], 1.0])), [0.0], method="Nelder-Mead", options={"xatol": 1e-10}).x[0]
    assert found["in_the_large"] == pytest.approx(level, abs=1e-6)


def test_brier_and_calibration_error_by_hand() -> None:
    labels, scores = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.1, 0.4, 0.8, 0.9])
    found = calibration(labels, scores, Reasons())
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.04 + 0.81) / 4)
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.9) / 4)  # four patients, four bins


def test_bins_hold_as_many_patients_each_whatever_the_order() -> None:
    labels, scores = simulated(200, 0, 1)
    bins = reliability(labels, scores)
    assert [b["n"] for b in bins] == [20] * 10
    order = np.random.default_rng(1).permutation(200)
    for ours, shuffled in zip(bins, reliability(labels[order], scores[order]), strict=True):
        assert (shuffled["n"], shuffled["observed"]) == (ours["n"], ours["observed"])
        assert shuffled["mean_score"] == pytest.approx(ours["mean_score"])
    split = np.array_split(np.argsort(scores), 10)
    assert [b["observed"] for b in bins] == [pytest.approx(labels[part].mean()) for part in split]


def test_equal_scores_share_a_bin() -> None:
    labels, scores = np.array([1.0, 0, 1, 0, 1, 0, 0, 1]), np.repeat([0.2, 0.7], 4)
    found = reliability(labels, scores)
    assert [(b["n"], b["mean_score"], b["observed"]) for b in found] == [(4, 0.2, 0.5), (4, pytest.approx(0.7), 0.5)]
    assert expected_calibration_error(found) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        ([1, 1, 1], [0.2, 0.6, 0.7], "one class only"),
        ([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], "all scores are the same"),
        ([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.9], "do not overlap"),
    ],
)
def test_no_slope_where_the_likelihood_has_no_maximum(labels: list[int], scores: list[float], reason: str) -> None:
    reasons = Reasons("/calibration/all")
    found = calibration(np.array(labels, float), np.array(scores), reasons)
    assert (found["slope"], found["slope_ci95"], found["intercept"]) == (None, None, None)
    assert found["brier"] is not None
    assert reason in reasons.not_estimable[0]["reason"]
    assert reasons.not_estimable[0]["figure"] == "/calibration/all/slope"


def test_certain_scores_are_remarked_upon() -> None:
    """A score of exactly 0 or 1 has no logit."""
    reasons = Reasons()
    found = calibration(np.array([1.0, 0, 1, 0, 1, 0]), np.array([0.0, 1.0, 0.4, 0.5, 0.6, 0.2]), reasons)
    assert np.isfinite(found["slope"])
    assert "2 scores lie within 1e-07 of 0 or 1" in reasons.remarks[0]["remark"]
