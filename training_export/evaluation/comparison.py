"""Two models on the same patients, and groups of patients by one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar

from training_export.evaluation.discrimination import (
    AreaDifference,
    components,
    independent_difference,
    paired_difference,
)
from training_export.evaluation.estimates import Floats, Mask, NotEstimableError, Reasons
from training_export.evaluation.group import Group


def comparison(labels: Floats, first: Floats, second: Floats, cut_off: float, reasons: Reasons) -> dict[str, Any]:
    """Return the entry of patients with a label and a score by both models."""
    difference = reasons.of("delong", partial(_paired, labels, first, second))
    right = [(scores >= cut_off) == (labels == 1) for scores in (first, second)]
    return {"n": len(labels), "delong": _difference_entry(difference), "mcnemar": mcnemar_entry(*right)}


def _paired(labels: Floats, first: Floats, second: Floats) -> AreaDifference:
    if not len(labels):
        raise NotEstimableError("no patient has a label and a score by both models")
    return paired_difference(labels, first, second)


def mcnemar_entry(first_right: Mask, second_right: Mask) -> dict[str, Any]:
    """Return the discordant pairs, ``b`` right by the first alone and ``c`` by the second alone; exact p, and chi-square."""
    b, c = int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())
    table = np.array([[0, b], [c, 0]])  # the test looks at no concordant pair
    chi2 = mcnemar(table, exact=False, correction=True) if b + c else None
    return {
        "b": b,
        "c": c,
        "p": float(mcnemar(table, exact=True).pvalue),
        "chi2_corrected": None if chi2 is None else float(chi2.statistic),
        "p_chi2_corrected": None if chi2 is None else float(chi2.pvalue),
    }


def strata_tests(strata: Mapping[str, Group], reasons: Reasons) -> dict[str, Any]:
    """Return for each stratum its area against that of all other labelled patients together (DeLong, independent)."""
    labelled = {name: group.labelled for name, group in strata.items()}
    entry = {}
    for name in labelled:
        rest = [group for other, group in labelled.items() if other != name]
        found = reasons.of(name, partial(_against, labelled[name], rest))
        entry[name] = _difference_entry(found)
    return entry


def _against(group: Group, rest: list[Group]) -> AreaDifference:
    if not rest:
        raise NotEstimableError("there is no other stratum")
    labels, scores = (np.concatenate([getattr(other, name) for other in rest]) for name in ("label", "score"))
    return independent_difference(components(group.label, group.score), components(labels, scores))


def _difference_entry(found: AreaDifference | None) -> dict[str, Any]:
    keys = AreaDifference.__dataclass_fields__
    entry = dict.fromkeys(keys) if found is None else asdict(found)
    return {"auc_first": entry.pop("first"), "auc_second": entry.pop("second"), **entry}
