"""The one printed form of a score: four decimals, never on the other side of the cut-off than the score itself.

The class is decided before rounding; SR, pages, ``result.json`` and metrics all print what this module gives.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from math import isfinite

STEP = Decimal("0.0001")


def is_high(score: float, cut_off: float) -> bool:
    """Say whether a score counts as high: at or above the cut-off (Mu et al. 2020)."""
    return score >= cut_off


def score_text(score: float, cut_off: float) -> str:
    """Return four decimals of a finite score; cut instead of rounded where rounding would change its class.

    0.49996 with a cut-off of 0.5 prints as 0.4999.
    """
    if not isfinite(score):
        raise ValueError(f"a score of {score} has no printed form; a missing score must stay None")
    exact = Decimal(score)
    rounded = exact.quantize(STEP, ROUND_HALF_EVEN)
    if is_high(float(rounded), cut_off) != is_high(score, cut_off):
        rounded = exact.quantize(STEP, ROUND_CEILING if is_high(score, cut_off) else ROUND_FLOOR)
    return f"{rounded:.4f}"


def printed_score(score: float, cut_off: float) -> float:
    """Return the number that ``score_text`` prints; findings hold it, so that every reader shows the same."""
    return float(score_text(score, cut_off))
