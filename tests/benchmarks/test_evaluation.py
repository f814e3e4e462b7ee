"""The simulations count rightly, and their truths are those of what they draw."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.evaluation.rows import ROWS, Estimate, Row, normals, optimism
from benchmarks.evaluation.speed import write_cohort
from benchmarks.evaluation.tally import cover, coverage_table, optimism_table
from training_export.evaluation.discrimination import auc
from training_export.evaluation.estimates import NotEstimableError
from training_export.evaluation.evaluate import Request, evaluate


def scripted(answers: list[Estimate | None], _rng: np.random.Generator) -> Estimate:
    """Return the next answer; None is a cohort without an interval."""
    answer = answers.pop(0)
    if answer is None:
        raise NotEstimableError("none")
    return answer


def test_an_interval_lies_below_holds_or_lies_above() -> None:
    answers = [
        Estimate(0.4, 0.3, 0.45),
        Estimate(0.5, 0.4, 0.6),
        Estimate(0.5, 0.5, 0.5),
        Estimate(0.9, 0.8, 1.0),
        None,
    ]
    found = cover(Row("figure", "setting", 0.5, partial(scripted, answers)), 5, seed=0)
    assert (found.below, found.held, found.above, found.none) == (1, 2, 1, 1)
    assert found.share == 0.5
    assert found.mean == pytest.approx(0.575)
    assert "| figure | setting | 0.5 | 0.575 | 50.0 % (15.0–85.0) | 1 / 1 | 1 |" in coverage_table([found])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.figure}, {row.setting}, {row.truth:.2g}")
def test_each_row_s_truth_is_near_its_mean_estimate(row: Row) -> None:
    """Thirty cohorts: a wrong truth, or a wrong side of a ratio, is far off."""
    found = cover(row, 30, seed=2)
    assert found.mean == pytest.approx(row.truth, rel=0.3, abs=0.12)
    assert found.held >= 0.6 * (found.cohorts - found.none)


def test_two_normals_have_the_area_that_was_asked_for() -> None:
    labels, scores = normals(np.random.default_rng(0), 0.86, 40_000, 40_000)
    assert auc(labels, scores) == pytest.approx(0.86, abs=0.005)


def test_choosing_a_cut_off_is_optimistic_and_the_correction_is_not_more_so() -> None:
    found = optimism(0.75, 15, 35, cohorts=20, seed=1)
    assert found.apparent > found.corrected > found.true - 0.05
    assert optimism_table([found]).count("\n") == 2


def test_rows_have_names_of_their_own() -> None:
    assert len({(row.figure, row.setting, row.truth) for row in ROWS}) == len(ROWS)


def test_the_timed_cohort_is_one_that_evaluate_takes(tmp_path: Path) -> None:
    _, slices, _, patients = write_cohort(tmp_path, 20, seed=0)
    document = evaluate(Request(tmp_path / slices, tmp_path / patients)).document
    assert document["integrity"]["all"]["slices"] == 600
    assert document["survival"]["all"]["n_high"] > 0
