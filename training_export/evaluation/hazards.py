"""Two groups' hazards against each other: the log-rank test, and Cox's proportional hazards with ties treated two ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.statistics import logrank_test
from statsmodels.duration.hazard_regression import PHReg

from training_export.evaluation.estimates import Floats, Interval, NotEstimableError, around, two_sided_p
from training_export.evaluation.follow_up import FollowUp

STEP = 1e-12  # where Newton's search for a coefficient ends
# lifelines holds `precision` against the square of a step; its own r_precision ends where the coefficient may be 1e-5 off
EXACTLY = {"precision": 1e-18, "r_precision": 0.0}


@dataclass(frozen=True)
class HazardRatio:
    """Of the first group against the second, with Wald's interval and p."""

    hr: float
    ci95: Interval
    p: float


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
    fit = model.fit(start_params=np.array([start]), disp=0, tol=STEP, ridge_factor=0.0)
    return _hazard_ratio(float(fit.params[0]), float(fit.bse[0]))


def _hazard_ratio(coefficient: float, error: float) -> HazardRatio:
    low, high = around(coefficient, error)
    return HazardRatio(
        float(np.exp(coefficient)), (float(np.exp(low)), float(np.exp(high))), two_sided_p(coefficient / error)
    )
