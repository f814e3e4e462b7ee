"""The one printed form of a score: four decimals that never change its side of the cut-off."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

FOUR_DECIMALS = Decimal("0.0001")


def score_text(score: float, cut_off: float) -> str:
    """Return the score with four decimals; the class is decided before rounding.

    Where rounding would cross the cut-off, the score is cut towards its own side: 0.49996 prints as ``0.4999``.
    """
    exact = Decimal(score)
    rounded = exact.quantize(FOUR_DECIMALS, ROUND_HALF_EVEN)
    if (float(rounded) >= cut_off) != (score >= cut_off):
        rounded = exact.quantize(FOUR_DECIMALS, ROUND_CEILING if score >= cut_off else ROUND_FLOOR)
    return f"{rounded:.4f}"
