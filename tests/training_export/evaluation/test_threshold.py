"""Figures at a cut-off, and cut-offs that one may choose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

from training_export.evaluation.estimates import NotEstimableError, Reasons
from training_export.evaluation.threshold import at_cut_off, choices, counts, wilson


def test_wilson_of_the_published_sensitivity() -> None:
    """11 of 16: the brain-metastasis paper's sensitivity."""
    assert wilson(11, 16) == pytest.approx((0.444, 0.858), abs=5e-4)


def test_the_published_figures_of_brain_metastases() -> None:
    """11 of 16 mutants, 42 of 43 wild type, 53 of 59: printed as 68.7, 97.7 and 89.8 %."""
    labels = np.repeat([1.0, 0.0], [16, 43])
    scores = np.repeat([0.8, 0.2, 0.8, 0.2], [11, 5, 1, 42])
    found = at_cut_off(labels, scores, 0.5, Reasons())
    shares = [100 * found[name] for name in ("sensitivity", "specificity", "accuracy")]
    assert shares == pytest.approx([68.75, 97.67, 89.83], abs=0.01)
    assert found["specificity_ci95_wilson"] == pytest.approx((0.879, 0.996), abs=1e-3)


@settings(deadline=None)
@given(st.integers(1, 500), st.data())
def test_wilson_is_that_of_another_library(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    found = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((found.low, found.high), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=1, max_size=60), st.integers(0, 10))
def test_counts_and_proportions_are_those_of_another_library(rows: list[tuple[int, int]], at: int) -> None:
    labels, scores = np.array(rows, np.float64).T
    high = scores >= at
    tn, fp, fn, tp = confusion_matrix(labels, high, labels=[0, 1]).ravel()
    found = at_cut_off(labels, scores, at, Reasons())
    assert [found[key] for key in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, high), abs=1e-12)
    if tp + fn:
        assert found["sensitivity"] == pytest.approx(recall_score(labels, high), abs=1e-12)
    if tp + fp:
        assert found["ppv"] == pytest.approx(precision_score(labels, high), abs=1e-12)
    if tn + fp:
        assert found["specificity"] == pytest.approx(recall_score(1 - labels, ~high), abs=1e-12)


def test_a_score_at_the_cut_off_is_high() -> None:
    assert counts(np.array([1, 0]), np.array([0.5, 0.5]), 0.5).tp == 1


def test_what_nobody_tells_is_null_with_its_reason() -> None:
    """Only positives, all scored low: no specificity, no predictive value of a high score."""
    reasons = Reasons("/binary/all")
    found = at_cut_off(np.ones(3), np.full(3, 0.2), 0.5, reasons)
    assert (found["specificity"], found["specificity_ci95_wilson"], found["ppv"]) == (None, None, None)
    assert (found["sensitivity"], found["npv"]) == (0.0, 0.0)
    assert reasons.not_estimable == [
        {"figure": "/binary/all/specificity", "reason": "there is no negative patient"},
        {"figure": "/binary/all/ppv", "reason": "there is no patient with a high score"},
    ]


def test_choices_by_hand() -> None:
    """Ten negatives at 0.0 to 0.9, ten positives 0.3 above: each rule's cut-off can be read off."""
    labels = np.repeat([0.0, 1.0], 10)
    scores = np.concatenate([np.arange(10) / 10, np.arange(10) / 10 + 0.35])
    found = choices(labels, scores)
    assert found["sensitivity_90"] == {"cut_off": pytest.approx(0.45), "sensitivity": 0.9, "specificity": 0.5}
    assert found["specificity_90"] == {"cut_off": pytest.approx(0.85), "sensitivity": 0.5, "specificity": 0.9}
    assert found["youden"]["cut_off"] == pytest.approx(0.95)
    assert found["youden"]["index"] == pytest.approx(0.4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=6, max_size=30))
def test_youden_is_the_best_of_all_cut_offs(rows: list[tuple[int, int]]) -> None:
    labels, scores = np.array([(1, 2), (0, 1), *rows], np.float64).T
    tried = [counts(labels, scores, float(c)) for c in np.unique(scores)]
    best = max(c.tp / (c.tp + c.fn) + c.tn / (c.tn + c.fp) - 1 for c in tried)
    assert choices(labels, scores)["youden"]["index"] == pytest.approx(best, abs=1e-12)


def test_luck_is_taken_off() -> None:
    """Scores that say nothing have an index of 0; forty patients make it look better, the correction says so."""
    rng = np.random.default_rng(3)
    apparent, corrected = [], []
    for _ in range(12):
        found = choices(rng.permutation(np.repeat([0.0, 1.0], 20)), rng.random(40))["youden"]
        apparent.append(found["index"])
        corrected.append(found["index_corrected"])
    assert np.mean(apparent) > 0.15
    assert abs(np.mean(corrected)) < 0.6 * np.mean(apparent)


@pytest.mark.parametrize(("labels", "scores"), [([1, 1], [0.1, 0.2]), ([1, 0], [0.3, 0.3])])
def test_no_choice_without_two_classes_and_two_scores(labels: list[float], scores: list[float]) -> None:
    with pytest.raises(NotEstimableError):
        choices(np.array(labels, float), np.array(scores))
