"""What was read: how many patients and slices, and what of them is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from training_export.evaluation.group import Group
from training_export.evaluation.patients import Patients
from training_export.evaluation.slices import ScoreFile


def integrity(cohorts: Mapping[str, Group], scores: ScoreFile, cut_off: float) -> dict[str, Any]:
    """Return the entry of each cohort. ``unmatched``: slices of the file, of any model, whose patient nobody knows."""
    return {
        cohort: {
            **_slices_per_patient(group),
            "unmatched": sum(scores.unmatched.values()),
            "scores_exactly_at_cut_off": int((group.score == cut_off).sum()),
            "patients_without_score": int(np.isnan(group.score).sum()),
            "patients_without_label": int(np.isnan(group.label).sum()),
            "follow_up_incomplete": _half_known(group.patients),
        }
        for cohort, group in cohorts.items()
    }


def _slices_per_patient(group: Group) -> dict[str, Any]:
    number = np.bincount(group.slices.patient, minlength=len(group))
    number = number[number > 0]
    return {
        "patients": len(number),
        "slices": len(group.slices),
        "slices_per_patient_median": float(np.median(number)) if len(number) else None,
        "slices_per_patient_min_max": [int(number.min()), int(number.max())] if len(number) else None,
    }


def _half_known(patients: Patients) -> int:
    """Return how many have a time without its end, or an end without its time."""
    return int((np.isnan(patients.months) != np.isnan(patients.progression)).sum())
