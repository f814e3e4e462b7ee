"""Time to progression of high and low scores: Kaplan-Meier, log-rank, proportional hazards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.statistics import logrank_test
from lifelines.utils import median_survival_times
from statsmodels.duration.hazard_regression import PHReg

from training_export.evaluation.estimates import (
    CONFIDENCE,
    Floats,
    Interval,
    Mask,
    NotEstimableError,
    Reasons,
    around,
    two_sided_p,
)
from training_export.evaluation.follow_up import FollowUp

MONTHS = (6, 12, 24)
ROUNDING = 1e-9  # a product of shares that is 0.5 on paper may be 0.5000000000000001
PRECISION = 1e-12
# lifelines' own r_precision ends the search where the coefficient may be 1e-5 off
EXACTLY = {"precision": PRECISION, "r_precision": 0.0}
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class HazardRatio:
    """Of the first group against the second, with Wald's interval and p."""

    hr: float
    ci95: Interval
    p: float


def kaplan_meier(follow_up: FollowUp) -> KaplanMeierFitter:
    """Return the product limit, events before censorings at ties; intervals by log-log Greenwood (Kalbfleisch and Prentice)."""
    return KaplanMeierFitter(alpha=1 - CONFIDENCE).fit(follow_up.months, follow_up.event)


def median_months(follow_up: FollowUp) -> float:
    """Return the smallest time with S(t) <= 0.5; NotEstimableError where the curve stays above."""
    if not len(follow_up):
        raise NotEstimableError("no patient in this group")
    survival = kaplan_meier(follow_up).survival_function_.iloc[:, 0]
    reached = survival.index[survival.to_numpy() <= 0.5 + ROUNDING]
    if not len(reached):
        raise NotEstimableError("the curve does not come down to one half")
    return float(reached[0])


def median_interval(follow_up: FollowUp) -> tuple[float | None, float | None]:
    """Return the interval of the median (Brookmeyer and Crowley 1982); None where a bound is not reached."""
    bounds = median_survival_times(kaplan_meier(follow_up).confidence_interval_).iloc[0]
    low, high = (float(v) if np.isfinite(v) else None for v in bounds)
    return low, high


def survival_at(follow_up: FollowUp, month: float) -> dict[str, Any]:
    """Return S(t), its interval, and how many are at risk; NotEstimableError beyond the last follow-up."""
    if not len(follow_up) or (month > follow_up.months.max() and not _ends_in_events(follow_up)):
        raise NotEstimableError("nobody of this group was followed so long")
    fit = kaplan_meier(follow_up)
    bounds = fit.confidence_interval_survival_function_.loc[:month].iloc[-1]
    return {
        "survival": float(fit.predict(month)),
        "ci95": [float(v) if np.isfinite(v) else None for v in bounds],
        "at_risk": int((follow_up.months >= month).sum()),
    }


def _ends_in_events(follow_up: FollowUp) -> bool:
    """Say whether the curve came down to 0, where it stays for ever."""
    return bool(follow_up.event[follow_up.months == follow_up.months.max()].all())


@dataclass(frozen=True)
class LogRank:
    """The log-rank test."""

    chi2: float
    p: float


def log_rank(first: FollowUp, second: FollowUp) -> LogRank:
    """Test two groups; hypergeometric variance.

    Raises
    ------
    NotEstimableError
        a group is empty, nobody had an event, or never both groups were at risk at one
    """
    table = _require_comparable(first, second)
    if not (table.at_risk > 0)[table.survivors > 0].all(axis=1).any():
        raise NotEstimableError("at each event that both groups were followed to, all who were left failed")
    result = logrank_test(first.months, second.months, first.event, second.event)
    return LogRank(float(result.test_statistic), float(result.p_value))


def observed_over_expected(first: FollowUp, second: FollowUp) -> float:
    """Return (O1 / E1) / (O0 / E0) of the log-rank test, which published survival code calls a hazard ratio."""
    table = _require_comparable(first, second)
    expected = (table.events.sum(axis=1) / table.at_risk.sum(axis=1)) @ table.at_risk
    ratio = table.events.sum(axis=0) / expected
    if ratio[1] == 0:
        raise NotEstimableError("no event in the second group")
    return float(ratio[0] / ratio[1])


@dataclass(frozen=True, eq=False)
class EventTable:
    """At each time with an event, ``[times, group]``: events, and patients at risk just before."""

    events: Floats
    at_risk: Floats

    @property
    def survivors(self) -> Floats:
        """How many of both groups are left after each time."""
        return np.asarray((self.at_risk - self.events).sum(axis=1))


def _events(first: FollowUp, second: FollowUp) -> EventTable:
    times = np.unique(np.concatenate([g.months[g.event] for g in (first, second)]))
    events, at_risk = np.zeros((len(times), 2)), np.zeros((len(times), 2))
    for i, group in enumerate((first, second)):
        failed = np.sort(group.months[group.event])
        events[:, i] = np.searchsorted(failed, times, "right") - np.searchsorted(failed, times, "left")
        at_risk[:, i] = len(group) - np.searchsorted(np.sort(group.months), times, "left")
    return EventTable(events, at_risk)


def _require_comparable(first: FollowUp, second: FollowUp) -> EventTable:
    if not len(first) or not len(second):
        raise NotEstimableError("one of the groups is empty")
    if not first.event.any() and not second.event.any():
        raise NotEstimableError("no event")
    table = _events(first, second)
    if not (table.at_risk > 0).all(axis=1).any():
        raise NotEstimableError("at no event were patients of both groups still followed")
    return table


def cox(first: FollowUp, second: FollowUp) -> dict[str, HazardRatio]:
    """Return the hazard ratio of the first group by both ways to treat ties, Efron (1977) and Breslow (1974).

    Raises
    ------
    NotEstimableError
        as ``log_rank``, or the likelihood grows without end: all events that tell are of one group
    """
    table = _require_comparable(first, second)
    telling = table.events[(table.at_risk > 0).all(axis=1)].sum(axis=0)
    if not telling.all():
        raise NotEstimableError("all events while both groups were followed are of one group: the ratio has no bound")
    months = np.concatenate([first.months, second.months])
    event = np.concatenate([first.event, second.event]).astype(int)
    group = np.repeat([1.0, 0.0], [len(first), len(second)])
    efron = _efron(months, event, group)
    return {"efron": efron, "breslow": _breslow(months, event, group, start=float(np.log(efron.hr)))}


def _efron(months: Floats, event: Floats, group: Floats) -> HazardRatio:
    frame = pd.DataFrame({"months": months, "event": event, "group": group})
    fit = CoxPHFitter().fit(frame, "months", "event", fit_options=EXACTLY)
    return _hazard_ratio(float(fit.params_["group"]), float(fit.standard_errors_["group"]))


def _breslow(months: Floats, event: Floats, group: Floats, start: float) -> HazardRatio:
    """Fit from ``start``: from 0, Newton's method may leap where one group is much the larger."""
    model = PHReg(months, group[:, None], status=event, ties="breslow")
    fit = model.fit(start_params=np.array([start]), disp=0, tol=PRECISION, ridge_factor=0.0)
    return _hazard_ratio(float(fit.params[0]), float(fit.bse[0]))


def _hazard_ratio(coefficient: float, error: float) -> HazardRatio:
    low, high = around(coefficient, error)
    return HazardRatio(
        float(np.exp(coefficient)), (float(np.exp(low)), float(np.exp(high))), two_sided_p(coefficient / error)
    )


def cox_figures(first: FollowUp, second: FollowUp, reasons: Reasons) -> dict[str, Any]:
    """Return the hazard ratios as the document has them, null where they are not estimable."""
    found = reasons.of("cox", partial(cox, first, second))
    keys = ("hr", "ci95", "p")
    if found is None:
        return {ties: dict.fromkeys(keys) for ties in ("efron", "breslow")}
    return {ties: {key: getattr(ratio, key) for key in keys} for ties, ratio in found.items()}


def survival(follow_up: FollowUp, high: Mask, reasons: Reasons) -> dict[str, Any]:
    """Return the family's entry: patients with a high score against those with a low one."""
    groups = {"high": follow_up.select(high), "low": follow_up.select(~high)}
    entry: dict[str, Any] = {}
    for name, group in groups.items():
        median = reasons.of(f"km_median_{name}", partial(median_months, group))
        entry |= {
            f"n_{name}": len(group),
            f"events_{name}": int(group.event.sum()),
            f"km_median_{name}": median,
            f"km_median_{name}_ci95": list(median_interval(group)) if len(group) else None,
            f"plain_quartiles_{name}": [float(v) for v in np.quantile(group.months, QUARTILES)] if len(group) else None,
        }
    return (
        entry | _compared(groups["high"], groups["low"], reasons) | {"survival_at_months": _at_months(groups, reasons)}
    )


def _compared(high: FollowUp, low: FollowUp, reasons: Reasons) -> dict[str, Any]:
    test = reasons.of("logrank_p", partial(log_rank, high, low))
    return {
        "logrank_chi2": test and test.chi2,
        "logrank_p": test and test.p,
        "observed_over_expected": reasons.of("observed_over_expected", partial(observed_over_expected, high, low)),
        "cox": cox_figures(high, low, reasons),
    }


def _at_months(groups: dict[str, FollowUp], reasons: Reasons) -> dict[str, Any]:
    return {
        str(month): {
            name: reasons.at("survival_at_months", str(month)).of(name, partial(survival_at, group, month))
            for name, group in groups.items()
        }
        for month in MONTHS
    }
