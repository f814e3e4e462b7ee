"""What else the score goes with: measured quantities, and response to treatment."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from training_export.evaluation.binary import quartiles, rank_sum
from training_export.evaluation.estimates import Floats, NotEstimableError, Reasons
from training_export.evaluation.group import Group

MEASURED = ("age", "suvmax")


def associations(group: Group, reasons: Reasons) -> dict[str, Any]:
    """Return the entry of patients with a score; empty where no quantity and no response is known."""
    entry: dict[str, Any] = {}
    for name in MEASURED:
        values = getattr(group.patients, name)
        known = ~np.isnan(values)
        if known.any():
            found = reasons.of(name, partial(_spearman, group.score[known], values[known]))
            rho, p = found or (None, None)
            entry[name] = {"n": int(known.sum()), "spearman_rho": rho, "p": p}
    response = group.patients.response
    if not np.isnan(response).all():
        yes, no = group.score[response == 1], group.score[response == 0]
        entry["response"] = {
            "score_responders": quartiles(yes),
            "score_others": quartiles(no),
            "p_ranksum": reasons.at("response").of("p_ranksum", partial(rank_sum, yes, no)),
        }
    return entry


def _spearman(first: Floats, second: Floats) -> tuple[float, float]:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        raise NotEstimableError("fewer than three patients, or no difference among them")
    found = spearmanr(first, second)
    return float(found.statistic), float(found.pvalue)
