"""Shares of patients with a benefit, or none, of treatment: all, and by score, with Fisher's exact test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import fisher_exact

from training_export.evaluation.estimates import Floats, Mask, NotEstimableError, Reasons
from training_export.evaluation.follow_up import FollowUp
from training_export.evaluation.kaplan_meier import survival_at
from training_export.evaluation.threshold import wilson

BENEFIT_MONTHS = 6.0  # durable clinical benefit: PFS of six months or more (Mu et al. 2020)
HYPERPROGRESSION_MONTHS = 2.0  # time to failure below two months (Mu et al. 2020)
YEAR_MONTHS = 12.0


@dataclass(frozen=True)
class Outcome:
    """Who counts, and the time before which a censored patient makes the count uncertain."""

    counts: Callable[[FollowUp], Mask]
    limit_months: float | None


OUTCOMES: Mapping[str, Outcome] = {
    "dcb": Outcome(lambda f: f.months >= BENEFIT_MONTHS, BENEFIT_MONTHS),
    "hyperprogression": Outcome(lambda f: f.months < HYPERPROGRESSION_MONTHS, HYPERPROGRESSION_MONTHS),
    "hyperprogression_event": Outcome(
        lambda f: (f.months < HYPERPROGRESSION_MONTHS) & f.event, HYPERPROGRESSION_MONTHS
    ),
    "progression": Outcome(lambda f: f.event, None),
    "pfs_12m": Outcome(lambda f: f.months >= YEAR_MONTHS, YEAR_MONTHS),
}


def share(counted: Mask) -> dict[str, Any]:
    """Return how many of the patients count, in per cent, with Wilson's interval; null per cent of nobody."""
    k, n = int(counted.sum()), len(counted)
    return {
        "k": k,
        "n": n,
        "pct": 100 * k / n if n else None,
        "pct_ci95_wilson": [100 * v for v in wilson(k, n)] if n else None,
    }


def fisher(first: Mask, second: Mask) -> float:
    """Return the two-sided p of Fisher's exact test; NotEstimableError where a group is empty."""
    if not len(first) or not len(second):
        raise NotEstimableError("one of the groups is empty")
    table = [[int(group.sum()), int((~group).sum())] for group in (first, second)]
    return float(fisher_exact(table).pvalue)


def censored_before(follow_up: FollowUp, limit_months: float | None) -> int | None:
    """Return how many left follow-up before the limit without progression: of them the outcome is not known."""
    return None if limit_months is None else int(((follow_up.months < limit_months) & ~follow_up.event).sum())


def outcomes(follow_up: FollowUp, year: Reasons) -> dict[str, Any]:
    """Return every outcome of one group; the year's also by Kaplan-Meier, which counts the censored as it should.

    ``year`` is the place of ``pfs_12m`` in the document.
    """
    entry = {
        name: share(outcome.counts(follow_up)) | {"censored_before": censored_before(follow_up, outcome.limit_months)}
        for name, outcome in OUTCOMES.items()
    }
    found = year.of("km_pct", partial(survival_at, follow_up, YEAR_MONTHS))
    entry["pfs_12m"] |= {
        "km_pct": None if found is None else 100 * found["survival"],
        "km_pct_ci95": None if found is None else [None if v is None else 100 * v for v in found["ci95"]],
    }
    return entry


def proportions(follow_up: FollowUp, high: Mask, response: Floats, reasons: Reasons) -> dict[str, Any]:
    """Return the family's entry: each outcome for all, high and low, and Fisher's p of high against low.

    ``response`` is 1, 0 or NaN (unknown); its entry counts only those who were assessed.
    """
    groups = {"all": np.ones(len(high), bool), "high": high, "low": ~high}
    by_group = {name: outcomes(follow_up.select(kept), reasons.at("pfs_12m", name)) for name, kept in groups.items()}
    entry: dict[str, Any] = {
        name: {group: found[name] for group, found in by_group.items()}
        | {"fisher_p": _compared(outcome.counts(follow_up), high, reasons.at(name))}
        for name, outcome in OUTCOMES.items()
    }
    assessed = ~np.isnan(response)
    if assessed.any():
        responded = response == 1
        entry["response"] = {name: share(responded[kept & assessed]) for name, kept in groups.items()}
        entry["response"]["fisher_p"] = _compared(responded[assessed], high[assessed], reasons.at("response"))
    return entry


def _compared(counted: Mask, high: Mask, reasons: Reasons) -> float | None:
    return reasons.of("fisher_p", partial(fisher, counted[high], counted[~high]))
