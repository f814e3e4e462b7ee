"""Kaplan-Meier, log-rank and Cox against published analyses, a second library, and the likelihood written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lifelines.datasets import load_lung
from scipy.optimize import brentq
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from training_export.evaluation.estimates import NotEstimableError, Reasons
from training_export.evaluation.follow_up import FollowUp
from training_export.evaluation.hazards import cox, log_rank, observed_over_expected
from training_export.evaluation.kaplan_meier import kaplan_meier, median_months, survival_at
from training_export.evaluation.survival import survival


def follow_up(text: str) -> FollowUp:
    """Return times as textbooks print them: a plus after those that were censored."""
    words = text.split()
    return FollowUp(np.array([float(w.rstrip("+")) for w in words]), np.array([not w.endswith("+") for w in words]))


# Miller 1997, acute myelogenous leukaemia: `aml` of R's survival
MAINTAINED = follow_up("9 13 13+ 18 23 28+ 31 34 45+ 48 161+")
NOT_MAINTAINED = follow_up("5 5 8 8 12 16+ 23 27 30 33 43 45")
# Freireich et al. 1963, 6-mercaptopurine: `gehan` of R's MASS
PLACEBO = follow_up("1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23")
TREATED = follow_up("6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+")


def lung(sex: int) -> FollowUp:
    """Return the NCCTG lung cancer patients of a sex (1 male, 2 female): `lung` of R's survival."""
    rows = load_lung()
    rows = rows[rows["sex"] == sex]
    return FollowUp(rows["time"].to_numpy(float), rows["status"].to_numpy() == 1)


def score(beta: float, first: FollowUp, second: FollowUp, ties: str) -> float:
    """Return the derivative of the partial likelihood as its authors print it, term by term; the estimate is its root."""
    months = np.concatenate([first.months, second.months])
    event = np.concatenate([first.event, second.event])
    x = np.repeat([1.0, 0.0], [len(first), len(second)])
    weight, total = np.exp(beta * x), 0.0
    for t in np.unique(months[event]):
        failed, at_risk = (months == t) & event, months >= t
        d = int(failed.sum())
        total += x[failed].sum()
        for taken in [j / d if ties == "efron" else 0.0 for j in range(d)]:
            risk = weight[at_risk].sum() - taken * weight[failed].sum()
            total -= ((x * weight)[at_risk].sum() - taken * (x * weight)[failed].sum()) / risk
    return float(total)


def test_aml_as_r_prints_it() -> None:
    assert (median_months(MAINTAINED), median_months(NOT_MAINTAINED)) == (31, 23)
    test = log_rank(NOT_MAINTAINED, MAINTAINED)
    assert (test.chi2, test.p) == pytest.approx((3.4, 0.0653), abs=5e-3)
    found = cox(NOT_MAINTAINED, MAINTAINED)["efron"]
    assert (np.log(found.hr), found.hr, found.p) == pytest.approx((0.9155, 2.4981, 0.0737), abs=5e-5)
    assert found.ci95 == pytest.approx((0.9159, 6.813), abs=5e-4)


def test_six_mercaptopurine_as_r_and_textbooks_print_it() -> None:
    """Ties matter here: Efron 4.817, Breslow 4.523 (Kleinbaum and Klein)."""
    assert (median_months(PLACEBO), median_months(TREATED)) == (8, 23)
    assert log_rank(PLACEBO, TREATED).chi2 == pytest.approx(16.79, abs=5e-3)
    found = cox(PLACEBO, TREATED)
    assert found["efron"].hr == pytest.approx(4.817, abs=5e-4)
    assert found["efron"].ci95 == pytest.approx((2.147, 10.81), abs=5e-3)
    assert found["breslow"].hr == pytest.approx(4.523, abs=5e-4)
    assert found["breslow"].ci95 == pytest.approx((2.027, 10.094), abs=5e-3)


def test_lung_as_r_prints_it() -> None:
    assert (median_months(lung(1)), median_months(lung(2))) == (270, 426)
    test = log_rank(lung(1), lung(2))
    assert (test.chi2, test.p) == pytest.approx((10.3, 0.00131), abs=5e-2)
    found = cox(lung(2), lung(1))["efron"]
    assert (np.log(found.hr), found.hr) == pytest.approx((-0.5310, 0.5880), abs=5e-5)
    assert found.ci95 == pytest.approx((0.4237, 0.816), abs=5e-4)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[FollowUp, FollowUp]:
    """Two groups on a grid of months, so that there are ties."""
    member = st.tuples(st.integers(1, 12), st.booleans())
    groups = [draw(st.lists(member, min_size=4, max_size=25)) for _ in range(2)]
    first, second = (FollowUp(np.array([float(t) for t, _ in g]), np.array([e for _, e in g])) for g in groups)
    return first, second


@settings(max_examples=60, deadline=None)
@given(pairs())
@example((follow_up("1+ 1+ 1+ 2"), follow_up("2+ 2+ 2+ 2+ 2+ 2+ 2+ 2 3")))  # statsmodels diverges from 0
@example((follow_up("1+ 1+ 2 2"), follow_up("1+ 2+ 2+ 2")))  # lifelines stops 1e-6 short
def test_hazard_ratios_are_the_root_of_the_score(groups: tuple[FollowUp, FollowUp]) -> None:
    try:
        found = cox(*groups)
    except NotEstimableError:
        return
    for ties in ("efron", "breslow"):
        root = brentq(score, -15, 15, args=(*groups, ties), xtol=1e-13)
        assert found[ties].hr == pytest.approx(np.exp(root), rel=1e-6), ties


@pytest.mark.parametrize("groups", [(NOT_MAINTAINED, MAINTAINED), (PLACEBO, TREATED), (lung(2), lung(1))])
def test_hazard_ratios_to_a_millionth_of_another_implementation(groups: tuple[FollowUp, FollowUp]) -> None:
    """Efron by statsmodels, where we take lifelines; Breslow by the root of the score, where we take statsmodels."""
    months = np.concatenate([g.months for g in groups])
    status = np.concatenate([g.event for g in groups]).astype(int)
    x = np.repeat([1.0, 0.0], [len(g) for g in groups])
    found = cox(*groups)
    other = PHReg(months, x[:, None], status=status, ties="efron").fit(disp=0)
    assert found["efron"].hr == pytest.approx(float(np.exp(other.params[0])), rel=1e-6)
    assert found["efron"].p == pytest.approx(float(other.pvalues[0]), rel=1e-5)
    root = brentq(score, -15, 15, args=(*groups, "breslow"), xtol=1e-13)
    assert found["breslow"].hr == pytest.approx(np.exp(root), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_curve_and_log_rank_are_those_of_another_library(groups: tuple[FollowUp, FollowUp]) -> None:
    first, second = groups
    if first.event.any():
        other = SurvfuncRight(first.months, first.event.astype(int))
        ours = kaplan_meier(first).survival_function_at_times(other.surv_times).to_numpy()
        np.testing.assert_allclose(ours, other.surv_prob, atol=1e-9)
    try:
        found = log_rank(first, second)
    except NotEstimableError:
        return
    months, status = np.concatenate([first.months, second.months]), np.concatenate([first.event, second.event])
    group = np.repeat([1, 0], [len(first), len(second)])
    chi2, p = survdiff(months, status.astype(int), group)
    assert (found.chi2, found.p) == pytest.approx((chi2, p), abs=1e-9)


def test_a_curve_that_comes_down_to_exactly_one_half_has_its_median_there() -> None:
    """3/4 times 2/3 is one half on paper; in floating point it may be a little more."""
    assert median_months(follow_up("1 2 3+ 4+")) == 2
    for n in range(4, 40, 2):
        assert median_months(FollowUp(np.arange(1.0, n + 1), np.ones(n, bool))) == n / 2


def test_events_come_before_censorings_at_the_same_time() -> None:
    """Two of three at risk at month 4: one fails, one leaves; the one who leaves counts as at risk."""
    found = survival_at(follow_up("4 4+ 9+"), 6)
    assert (found["survival"], found["at_risk"]) == (pytest.approx(2 / 3), 1)


def test_log_log_greenwood_by_hand() -> None:
    """S = 0.7 of ten at one time: the interval of ln(-ln S)."""
    found = survival_at(follow_up("1 1 1 9 9 9 9 9 9 9"), 6)
    error = np.sqrt(3 / (10 * 7)) / abs(np.log(0.7))
    wanted = [0.7 ** np.exp(1.959964 * error), 0.7 ** np.exp(-1.959964 * error)]
    assert found["ci95"] == pytest.approx(wanted, abs=1e-6)


def test_observed_over_expected_by_hand() -> None:
    """Two against two, events at 1, 2, 3 by first, second, first: expected 0.5 + 1/3 + 0.5 of the first."""
    first, second = follow_up("1 3"), follow_up("2 4+")
    expected = 0.5 + 1 / 3 + 0.5
    assert observed_over_expected(first, second) == pytest.approx((2 / expected) / (1 / (3 - expected)))


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ((follow_up("1 2"), follow_up("")), "one of the groups is empty"),
        ((follow_up("1+ 2+"), follow_up("3+")), "no event"),
        ((follow_up("5 6"), follow_up("1+ 2+")), "at no event were patients of both groups still followed"),
        ((follow_up("1 2 3+"), follow_up("4+ 5+")), "all events while both groups were followed are of one group"),
        # separated in time: the second group's events come when nobody of the first is left
        ((follow_up("1 2"), follow_up("4 5")), "all events while both groups were followed are of one group"),
    ],
)
def test_no_hazard_ratio_where_the_data_give_none(groups: tuple[FollowUp, FollowUp], reason: str) -> None:
    with pytest.raises(NotEstimableError, match=reason):
        cox(*groups)


def test_no_log_rank_where_all_who_are_left_fail_at_once() -> None:
    """The hypergeometric variance is 0; a library divides by it."""
    with pytest.raises(NotEstimableError, match="all who were left failed"):
        log_rank(follow_up("4 1+ 1+"), follow_up("4 1+"))


def test_a_median_that_is_not_reached_is_null_with_its_reason() -> None:
    reasons = Reasons("/survival/all")
    group = follow_up("1 2 8+ 9+ 10+ 11+ 1 3 4 12+")
    found = survival(group, np.array([True] * 6 + [False] * 4), reasons)
    assert (found["km_median_high"], found["km_median_low"]) == (None, 3)
    assert found["plain_quartiles_high"] == [3.5, 8.5, 9.75]
    assert {"figure": "/survival/all/km_median_high", "reason": "the curve does not come down to one half"} in (
        reasons.not_estimable
    )


def test_no_curve_beyond_follow_up() -> None:
    with pytest.raises(NotEstimableError, match="followed so long"):
        survival_at(follow_up("1 2 8+"), 12)
    assert survival_at(follow_up("1 2 8"), 12)["survival"] == 0  # it came down to 0, where it stays
