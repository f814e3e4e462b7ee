"""From slices to patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egfr_dls.errors import UsageError
from training_export.evaluation.aggregation import aggregation
from training_export.evaluation.slices import Slices

SLICES = Slices(
    np.array([2, 0, 2, 2, 0]), np.array([0.9, 0.2, 0.3, 0.45, 0.4]), np.array([100.0, 30.0, 100.0, 200.0, 10.0])
)


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("mean", [0.3, np.nan, 0.55]),
        ("median", [0.3, np.nan, 0.45]),
        ("max", [0.4, np.nan, 0.9]),
        ("min", [0.2, np.nan, 0.3]),
        ("area-weighted", [0.25, np.nan, 0.525]),
        ("quantile:0.75", [0.35, np.nan, 0.675]),
        ("quantile(.25)", [0.25, np.nan, 0.375]),
    ],
)
def test_each_rule(name: str, scores: list[float]) -> None:
    """The second patient has no slice, so no score."""
    np.testing.assert_allclose(aggregation(name).scores(SLICES, 3), scores)


def test_quantile_is_named_the_same_however_it_was_asked_for() -> None:
    assert aggregation("quantile:0.750").name == aggregation("quantile(0.75)").name == "quantile(0.75)"


@pytest.mark.parametrize("name", ["mode", "quantile", "quantile:1.5", "quantile:-0.1", "quantile:nan", ""])
def test_no_other_rule(name: str) -> None:
    with pytest.raises(UsageError, match="no such rule; needed: mean, median"):
        aggregation(name)


def test_area_is_needed_where_it_weighs() -> None:
    """A patient of one slice needs none."""
    some = Slices(np.array([0, 1, 1]), np.array([0.4, 0.5, 0.7]), np.array([np.nan, 10.0, np.nan]))
    with pytest.raises(UsageError, match="column area_mm2"):
        aggregation("area-weighted").scores(some, 2)
    one = some.select(np.array([True, False]))
    assert aggregation("area-weighted").scores(one, 1).tolist() == [0.4]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=40), st.integers(0, 100))
def test_neither_order_nor_other_patients_change_a_score(rows: list[tuple[int, float]], seed: int) -> None:
    patient, score = np.array([p for p, _ in rows]), np.array([s for _, s in rows])
    made = Slices(patient, score, np.ones(len(rows)))
    found = aggregation("median").scores(made, 6)
    order = np.random.default_rng(seed).permutation(len(rows))
    np.testing.assert_array_equal(
        found, aggregation("median").scores(Slices(patient[order], score[order], np.ones(len(rows))), 6)
    )
    kept = np.isin(np.arange(6), patient[:1])
    np.testing.assert_array_equal(found[kept], aggregation("median").scores(made.select(kept), 1))
