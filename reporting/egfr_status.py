"""On which side of the cut-off a score lies, in the report's words and codes."""

from __future__ import annotations

from enum import Enum

from egfr_dls import codes


class EgfrStatus(Enum):
    """The imaging prediction; its value is the code under which the report files it."""

    MUTANT = codes.PREDICTED_MUTANT
    WILD_TYPE = codes.PREDICTED_WILD_TYPE
    INDETERMINATE = codes.PREDICTED_INDETERMINATE


def egfr_status(score: float, cut_off: float, indeterminate_band: float = 0.0) -> EgfrStatus:
    """Return mutant at or above the cut-off, wild type below (Mu et al. 2020, EGFR-DLS >= 0.5 is high).

    Parameters
    ----------
    score
        unrounded: the class is decided before printing
    indeterminate_band
        half-width about the cut-off that a site chose to call indeterminate; 0: none
    """
    if abs(score - cut_off) < indeterminate_band:
        return EgfrStatus.INDETERMINATE
    return EgfrStatus.MUTANT if score >= cut_off else EgfrStatus.WILD_TYPE
