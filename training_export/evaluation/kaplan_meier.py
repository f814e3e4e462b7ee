"""The Kaplan-Meier curve: its median, and what it says of a month."""

from __future__ import annotations

from typing import Any

import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.utils import median_survival_times

from training_export.evaluation.estimates import CONFIDENCE, NotEstimableError
from training_export.evaluation.follow_up import FollowUp

ROUNDING = 1e-9  # a product of shares that is 0.5 on paper may be 0.5000000000000001


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
