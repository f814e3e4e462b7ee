"""All families of figures of some cohorts by one model; a cohort without label, or without follow-up, has no entry."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from training_export.evaluation.associations import associations
from training_export.evaluation.binary import aggregations, binary, slice_level
from training_export.evaluation.calibration import calibration
from training_export.evaluation.estimates import Reasons
from training_export.evaluation.follow_up import follow_up_of
from training_export.evaluation.group import Group
from training_export.evaluation.proportions import proportions
from training_export.evaluation.survival import survival
from training_export.evaluation.threshold import choices


def families(cohorts: Mapping[str, Group], cut_off: float, reasons: Reasons) -> dict[str, dict[str, Any]]:
    """Return each family as ``{cohort: entry}``."""
    found: dict[str, dict[str, Any]] = {name: {} for name in FAMILIES}
    for cohort, group in cohorts.items():
        for part, members in (
            (_of_labels, group.labelled),
            (_of_follow_up, group.followed),
            (_of_scores, group.select(~np.isnan(group.score))),
        ):
            for name, entry in part(members, cut_off, reasons, cohort).items() if len(members) else ():
                found[name][cohort] = entry
    return found


FAMILIES = (
    "binary", "slice_level", "aggregation", "thresholds", "calibration", "survival", "proportions", "associations",
)  # fmt: skip


def _of_labels(group: Group, cut_off: float, reasons: Reasons, cohort: str) -> dict[str, Any]:
    return {
        "binary": binary(group, cut_off, reasons.at("binary", cohort)),
        "slice_level": slice_level(group, cut_off, reasons.at("slice_level", cohort)),
        "aggregation": aggregations(group, cut_off, reasons.at("aggregation", cohort)),
        "thresholds": reasons.at("thresholds").of(cohort, partial(choices, group.label, group.score)),
        "calibration": calibration(group.label, group.score, reasons.at("calibration", cohort)),
    }


def _of_follow_up(group: Group, cut_off: float, reasons: Reasons, cohort: str) -> dict[str, Any]:
    follow_up, high = follow_up_of(group.patients), group.high(cut_off)
    return {
        "survival": survival(follow_up, high, reasons.at("survival", cohort)),
        "proportions": proportions(follow_up, high, group.patients.response, reasons.at("proportions", cohort)),
    }


def _of_scores(group: Group, _cut_off: float, reasons: Reasons, cohort: str) -> dict[str, Any]:
    entry = associations(group, reasons.at("associations", cohort))
    return {"associations": entry} if entry else {}
