"""How far an engine's answers are from the golden ones, and whether that is allowed.

A score of exactly 0 or 1 hides what it was made of, so logits are compared beside probabilities: those that the network
gives, else the logarithms of the probabilities, which keep their meaning down to the smallest float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from inference.engine.contract import Result
from inference.engine.golden_file import Golden
from inference.models.manifest import Precision, Tolerance

CAM_IDENTITY = 1e-3  # softmax of the spatial means = prob, on any engine (docs/reference/science.md, Zhou et al. 2016)
TINY = float(np.finfo(np.float32).tiny)
Numbers = NDArray[np.floating]


@dataclass(frozen=True)
class Deviation:
    """Largest differences: of probabilities; of maps, relative to their largest value; of logits, relative to theirs or 1.

    ``unexplained`` is how far the maps are from explaining the scores, ``hidden`` counts golden probabilities of exactly 0
    or 1 that cannot be looked behind. None: the network has no maps.
    """

    prob: float
    cam_rel: float | None
    logit_rel: float
    unexplained: float | None
    hidden: int

    def worst(self, other: Deviation) -> Deviation:
        """Return the larger of each difference; NaN is larger than any."""
        return Deviation(
            float(np.maximum(self.prob, other.prob)),
            _larger(self.cam_rel, other.cam_rel),
            float(np.maximum(self.logit_rel, other.logit_rel)),
            _larger(self.unexplained, other.unexplained),
            max(self.hidden, other.hidden),
        )


def deviation(golden: Golden, found: Result) -> Deviation:
    """Compare answers with the golden ones of the same images."""
    prob = golden["prob"]
    cam_rel = unexplained = None
    if found.cam is not None and "cam" in golden:
        cam_rel = _relative(golden["cam"], found.cam, 0.0)
        unexplained = _unexplained(found.prob, found.cam)
    if found.logits is not None and "logits" in golden:
        logit_rel, hidden = _relative(golden["logits"], found.logits, 1.0), 0
    else:
        logit_rel = _relative(_log(prob), _log(found.prob), 1.0)
        hidden = int(np.count_nonzero((prob == 0) | (prob == 1))) if cam_rel is None else 0
    return Deviation(_largest(prob, found.prob), cam_rel, logit_rel, unexplained, hidden)


def fault(found: Deviation, tolerance: Tolerance, precision: Precision, engine: str) -> str | None:
    """Return what is wrong with answers that are too far from the golden ones; None where nothing is."""
    compared = (
        ("prob", found.prob, tolerance.prob, "prob", ""),
        ("cam", found.cam_rel, tolerance.cam_rel, "cam_rel", " of its maximum"),
        ("logits", found.logit_rel, tolerance.logit_rel, "logit_rel", " of their maximum (or of 1)"),
    )
    for output, difference, allowed, key, of in compared:
        if difference is not None and not difference <= allowed:
            return (
                f"{output} differs by {difference:.3g}{of} on {engine}, "
                f"more than tolerance.{precision}.{key} {allowed:g}"
            )
    if found.unexplained is not None and not found.unexplained <= CAM_IDENTITY:
        return (
            f"the class probabilities of the maps' means differ by {found.unexplained:.3g} from prob, more than "
            f"{CAM_IDENTITY:g}: these maps do not explain this score. Needed: cam = sum of weights x features + bias, "
            "before the mean (docs/reference/science.md); or `cam: null` in the manifest"
        )
    return None


def _unexplained(prob: Numbers, cam: Numbers) -> float:
    """Return how far the softmax of the maps' spatial means is from the probabilities: an identity of such a head.

    Both as they are and as logarithms, so that a score of 0 or 1 does not excuse any map.
    """
    means = cam.mean(axis=(2, 3), dtype=np.float64)
    logs = np.maximum(log_softmax(means, axis=1), np.log(TINY))
    return max(_largest(prob, softmax(means, axis=1)), _relative(_log(prob), logs, 1.0))


def _log(prob: Numbers) -> Numbers:
    return np.asarray(np.log(np.clip(prob.astype(np.float64), TINY, None)))


def _relative(wanted: Numbers, found: Numbers, floor: float) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    scale = max(float(np.abs(wanted).max()), floor) or 1.0
    return _largest(wanted, found) / scale


def _largest(wanted: Numbers, found: Numbers) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    return float(np.abs(wanted.astype(np.float64) - found.astype(np.float64)).max())


def _larger(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else float(np.maximum(first, second))
