"""From slice scores to one score a lesion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from egfr_dls.score_text import is_high, printed_score
from inference.models.manifest import Preprocessing

Scores = NDArray[np.float64]
AGGREGATES: dict[str, Callable[[Scores], np.float64]] = {"mean": np.mean, "median": np.median}


@dataclass(frozen=True, eq=False)
class LesionScore:
    """The score of a lesion and of its slices, unrounded; ``slice_sd`` has ddof 1 and is None for one slice."""

    score: float
    cut_off: float
    slice_sd: float | None
    slices: Scores

    @property
    def high(self) -> bool:
        """Whether the lesion counts as high; decided before any rounding."""
        return is_high(self.score, self.cut_off)

    @property
    def distance_to_cut_off(self) -> float:
        """How far the score lies above the cut-off, unrounded; negative below it."""
        return self.score - self.cut_off

    @property
    def printed(self) -> float:
        """The score as every report prints it."""
        return printed_score(self.score, self.cut_off)

    @property
    def printed_slices(self) -> tuple[float, ...]:
        """The slice scores as every report prints them."""
        return tuple(printed_score(float(s), self.cut_off) for s in self.slices)


def aggregate(prob: NDArray[np.float32], preprocessing: Preprocessing) -> LesionScore:
    """Return the mean (or median) of the positive class's column of ``prob`` ``[slices, 2]`` (Mu et al. 2020)."""
    slices = prob[:, preprocessing.class_index].astype(np.float64)
    score = float(AGGREGATES[preprocessing.aggregate](slices))
    slice_sd = float(slices.std(ddof=1)) if slices.size > 1 else None
    return LesionScore(score, preprocessing.cut_off, slice_sd, slices)
