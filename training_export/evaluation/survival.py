"""The family of time to progression: high scores against low ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from training_export.evaluation.estimates import Mask, Reasons
from training_export.evaluation.follow_up import FollowUp
from training_export.evaluation.hazards import cox, log_rank, observed_over_expected
from training_export.evaluation.kaplan_meier import median_interval, median_months, survival_at

MONTHS = (6, 12, 24)
QUARTILES = (0.25, 0.5, 0.75)


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
