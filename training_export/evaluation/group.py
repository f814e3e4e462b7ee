"""Some patients with their scores by one model: what every family of figures is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egfr_dls.score_text import is_high
from training_export.evaluation.estimates import Floats, Mask
from training_export.evaluation.patients import Patients
from training_export.evaluation.slices import Slices


@dataclass(frozen=True, eq=False)
class Group:
    """Patients, each with a label (NaN: unknown), a score (NaN: no slice) and its slices, by one model."""

    patients: Patients
    label: Floats
    score: Floats
    slices: Slices

    def __len__(self) -> int:
        return len(self.score)

    def select(self, kept: Mask) -> Group:
        """Return some of the patients."""
        return Group(self.patients.select(kept), self.label[kept], self.score[kept], self.slices.select(kept))

    @property
    def labelled(self) -> Group:
        """The patients with a score and a label."""
        return self.select(~np.isnan(self.score) & ~np.isnan(self.label))

    @property
    def followed(self) -> Group:
        """The patients with a score, a time and whether it ended with progression."""
        known = ~np.isnan(self.patients.months) & ~np.isnan(self.patients.progression)
        return self.select(~np.isnan(self.score) & known)

    def high(self, cut_off: float) -> Mask:
        """Say of each patient whether the score is high."""
        return np.array([is_high(score, cut_off) for score in self.score], bool)
