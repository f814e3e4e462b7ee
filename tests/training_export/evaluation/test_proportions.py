"""Durable benefit, hyperprogression and the cells of the guideline."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training_export.evaluation.comparison import mcnemar_entry
from training_export.evaluation.estimates import NotEstimableError, Reasons
from training_export.evaluation.follow_up import FollowUp
from training_export.evaluation.pathway_cells import cells
from training_export.evaluation.proportions import fisher, proportions

# months, progression, score high
ROWS = np.array(
    [
        (1, 1, 1),
        (1.9, 0, 1),
        (2, 1, 1),
        (6, 1, 1),
        (12, 0, 1),
        (5.9, 1, 0),
        (6, 0, 0),
        (14, 1, 0),
        (20, 0, 0),
        (0.5, 1, 0),
    ]
)
FOLLOW_UP = FollowUp(ROWS[:, 0], ROWS[:, 1] == 1)
HIGH = ROWS[:, 2] == 1
NO_RESPONSE = np.full(10, np.nan)


def test_definitions_by_hand() -> None:
    """Six months are a benefit, two months no hyperprogression; the second count demands progression."""
    found = proportions(FOLLOW_UP, HIGH, NO_RESPONSE, Reasons())
    wanted = {
        "dcb": (5, 2, 3), "hyperprogression": (3, 2, 1), "hyperprogression_event": (2, 1, 1), "progression": (6, 3, 3),
        "pfs_12m": (3, 1, 2),
    }  # fmt: skip
    for name, (everyone, high, low) in wanted.items():
        assert [found[name][g]["k"] for g in ("all", "high", "low")] == [everyone, high, low], name
        assert [found[name][g]["n"] for g in ("all", "high", "low")] == [10, 5, 5]
        assert found[name]["high"]["pct"] == pytest.approx(20 * high)
    assert [found["dcb"][g]["censored_before"] for g in ("all", "high", "low")] == [1, 1, 0]
    assert found["pfs_12m"]["all"]["censored_before"] == 2
    assert found["progression"]["all"]["censored_before"] is None
    assert "response" not in found


def test_the_year_by_kaplan_meier_counts_the_censored() -> None:
    """Low scores: at risk 5, 4, then two leave or stay: 4/5 x 3/4 at 12 months, plain 2/5."""
    found = proportions(FOLLOW_UP, HIGH, NO_RESPONSE, Reasons())["pfs_12m"]["low"]
    assert found["km_pct"] == pytest.approx(60)
    assert found["pct"] == 40


def test_response_counts_those_who_were_assessed() -> None:
    response = np.array([1, 0, np.nan, 1, 1, 0, 0, np.nan, 0, 1.0])
    found = proportions(FOLLOW_UP, HIGH, response, Reasons())["response"]
    assert [(found[g]["k"], found[g]["n"]) for g in ("all", "high", "low")] == [(4, 8), (3, 4), (1, 4)]


def hypergeometric_p(a: int, b: int, c: int, d: int) -> float:
    """Return Fisher's two-sided p as he defines it: tables with the same margins that are no likelier."""
    n, row, column = a + b + c + d, a + b, a + c
    weight = {
        k: comb(row, k) * comb(n - row, column - k) for k in range(max(0, row + column - n), min(row, column) + 1)
    }
    return sum(w for w in weight.values() if w <= weight[a]) / comb(n, column)


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 12)] * 4).filter(lambda t: t[0] + t[1] and t[2] + t[3]))
def test_fisher_is_the_hypergeometric_sum(table: tuple[int, int, int, int]) -> None:
    a, b, c, d = table
    first, second = np.repeat([True, False], [a, b]), np.repeat([True, False], [c, d])
    assert fisher(first, second) == pytest.approx(hypergeometric_p(a, b, c, d), abs=1e-9)


def test_fisher_of_the_tea_taster() -> None:
    """Fisher 1935: three of four and one of four right; two-sided 0.4857."""
    assert fisher(np.array([1, 1, 1, 0], bool), np.array([1, 0, 0, 0], bool)) == pytest.approx(0.4857, abs=5e-5)
    with pytest.raises(NotEstimableError, match="empty"):
        fisher(np.array([True]), np.array([], bool))


@settings(deadline=None)
@given(st.integers(0, 15), st.integers(0, 15))
def test_mcnemar_is_the_exact_binomial(b: int, c: int) -> None:
    first = np.repeat([True, False, True], [b, c, 5])
    second = np.repeat([False, True, True], [b, c, 5])
    found = mcnemar_entry(first, second)
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert (found["b"], found["c"]) == (b, c)
    assert found["p"] == pytest.approx(min(1.0, 2 * tail), abs=1e-9)
    if b + c:
        assert found["chi2_corrected"] == pytest.approx((abs(b - c) - 1) ** 2 / (b + c))
    else:
        assert found["chi2_corrected"] is None


def test_cells_by_both_scores() -> None:
    """A patient without a PD-L1 score is in the cells of EGFR-DLS alone."""
    found = cells(np.array([0.5, 0.5, 0.49, 0.1, 0.9]), np.array([0.5, 0.1, 0.9, 0.2, np.nan]), 0.5)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in found.items()} == {
        "egfr_high": [0, 1, 4], "egfr_low": [2, 3], "egfr_high_pdl1_high": [0], "egfr_high_pdl1_low": [1],
        "egfr_low_pdl1_high": [2], "egfr_low_pdl1_low": [3],
    }  # fmt: skip
