"""The learning rate as a function of the step: rises, then falls ("one cycle", Smith 2018, arXiv:1803.09820)."""

from __future__ import annotations

import math

FIRST_SHARE = 1 / 25  # of the peak, at the first step
LAST_SHARE = 1e-5


def one_cycle(step: int, steps: int, peak: float, warm_up: float) -> float:
    """Return the learning rate of a step, counted from 0, of ``steps``; ``warm_up`` is the share that rises."""
    top = warm_up * (steps - 1)
    if step < top:
        return _between(peak * FIRST_SHARE, peak, step / top)
    rest = (steps - 1) - top
    return _between(peak, peak * LAST_SHARE, (step - top) / rest if rest > 0 else 0.0)


def _between(first: float, last: float, share: float) -> float:
    """Return the value on half a cosine wave."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
