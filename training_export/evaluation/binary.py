"""The figures of a score against a label: by patient, by slice, and by each rule of aggregation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from training_export.evaluation.aggregation import LISTED
from training_export.evaluation.discrimination import auc, auc_interval, auc_interval_logit
from training_export.evaluation.estimates import Floats, NotEstimableError, Reasons
from training_export.evaluation.group import Group
from training_export.evaluation.threshold import at_cut_off

QUARTILES = (0.25, 0.5, 0.75)
FEW = 10  # patients in a class, below which the intervals of an area cover less than they say (docs/evaluation.md)


def binary(group: Group, cut_off: float, reasons: Reasons) -> dict[str, Any]:
    """Return the entry of labelled patients: discrimination, the cut-off, and the scores of each class."""
    labels, scores = group.label, group.score
    positives = int(labels.sum())
    smaller = min(positives, len(labels) - positives)
    if 0 < smaller < FEW:
        reasons.remark(
            "auc_ci95_delong", f"only {smaller} patients in the smaller class: the interval may be too narrow"
        )
    area = reasons.of("auc", partial(auc, labels, scores))
    return {
        "n": len(labels),
        "positives": positives,
        "auc": area,
        "auc_ci95_delong": reasons.of("auc_ci95_delong", partial(auc_interval, labels, scores)),
        "auc_ci95_delong_logit": reasons.of("auc_ci95_delong_logit", partial(auc_interval_logit, labels, scores)),
        **at_cut_off(labels, scores, cut_off, reasons),
        "score_positive": quartiles(scores[labels == 1]),
        "score_negative": quartiles(scores[labels == 0]),
        "p_ranksum": reasons.of("p_ranksum", partial(rank_sum, scores[labels == 1], scores[labels == 0])),
    }


def quartiles(values: Floats) -> dict[str, Any]:
    """Return the quartiles by numpy's default and by MATLAB's rule (Hazen), null of nobody."""
    entry: dict[str, Any] = {"n": len(values)}
    for method in ("linear", "hazen"):
        found = np.quantile(values, QUARTILES, method=method) if len(values) else None
        entry[f"q1_median_q3_{method}"] = None if found is None else [float(v) for v in found]
    return entry


def rank_sum(first: Floats, second: Floats) -> float:
    """Return the two-sided p of the Mann-Whitney test; exact for small groups without ties, as SciPy decides."""
    if not len(first) or not len(second):
        raise NotEstimableError("one of the groups is empty")
    if np.ptp(np.concatenate([first, second])) == 0:
        raise NotEstimableError("all scores are the same")
    return float(mannwhitneyu(first, second).pvalue)


def slice_level(group: Group, cut_off: float, reasons: Reasons) -> dict[str, Any]:
    """Return area and accuracy of slices, each with its patient's label; slices of a patient are alike: no interval."""
    labels, scores = group.label[group.slices.patient], group.slices.score
    return {
        "n": len(scores),
        "auc": reasons.of("auc", partial(auc, labels, scores)),
        "accuracy": float(((scores >= cut_off) == (labels == 1)).mean()),
    }


def aggregations(group: Group, cut_off: float, reasons: Reasons) -> dict[str, Any]:
    """Return area and accuracy by each of the listed rules, so that the choice of one can be judged."""
    entry = {}
    for rule in LISTED:
        scores = rule.scores(group.slices, len(group))
        entry[rule.name] = {
            "auc": reasons.at(rule.name).of("auc", partial(auc, group.label, scores)),
            "accuracy": float(((scores >= cut_off) == (group.label == 1)).mean()),
        }
    return entry
