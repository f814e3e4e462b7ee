"""Slice scores become one score a lesion."""

from __future__ import annotations

import numpy as np
import pytest

from inference.biomarkers.pet_ct_egfr.aggregate import aggregate
from inference.models.manifest import Preprocessing

PROB = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], np.float32)


@pytest.mark.parametrize(
    ("changes", "score"),
    [({}, 1.3 / 3), ({"class_index": 0}, 1.7 / 3), ({"aggregate": "median"}, 0.4)],
    ids=["mean", "other column", "median"],
)
def test_the_recipe_decides_column_and_aggregate(changes: dict[str, object], score: float) -> None:
    """Mean of column 1 by default."""
    assert aggregate(PROB, Preprocessing(**changes)).score == pytest.approx(score, abs=1e-6)  # type: ignore[arg-type]


def test_the_standard_deviation_is_that_of_a_sample() -> None:
    """ddof 1; none for a single slice."""
    assert aggregate(PROB, Preprocessing()).slice_sd == pytest.approx(np.std([0.1, 0.4, 0.8], ddof=1), abs=1e-6)
    assert aggregate(PROB[:1], Preprocessing()).slice_sd is None


def test_the_class_is_decided_before_rounding() -> None:
    """0.49996 is low although it would round to 0.5; the printed score stays low too."""
    low = aggregate(np.array([[0.50004, 0.49996]], np.float32), Preprocessing())
    assert not low.high
    assert low.printed == 0.4999
    assert low.printed_slices == (0.4999,)
    assert aggregate(np.array([[0.5, 0.5]], np.float32), Preprocessing()).high


@pytest.mark.parametrize(("prob", "distance"), [(0.75, 0.25), (0.5, 0.0), (0.49996, -4e-5)])
def test_the_distance_to_the_cut_off_is_not_rounded(prob: float, distance: float) -> None:
    """Its sign is the class: a score that prints as 0.4999 lies 0.00004 below."""
    score = aggregate(np.array([[1 - prob, prob]], np.float64).astype(np.float64), Preprocessing())
    assert score.distance_to_cut_off == pytest.approx(distance, abs=1e-9)
    assert (score.distance_to_cut_off >= 0) == score.high
