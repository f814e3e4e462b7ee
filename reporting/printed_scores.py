"""Scores as every object prints them, and the side of the cut-off on which they lie."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from egfr_dls import codes
from egfr_dls.findings import ModelUse, StudyFindings
from egfr_dls.score_text import score_text

CUT_OFF = 0.5  # of a score without network in the findings (Mu et al. 2020)


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


@dataclass(frozen=True)
class PrintedScores:
    """The scores of one study: printed forms, cut-offs and classes.

    Parameters
    ----------
    indeterminate_band
        half-width about the cut-off that a site calls indeterminate (``[reporting] indeterminate_band``)
    """

    findings: StudyFindings
    indeterminate_band: float = 0.0

    @property
    def egfr_cut_off(self) -> float:
        """The cut-off of the EGFR network."""
        return _cut_off(self.findings.model)

    @property
    def pdl1_cut_off(self) -> float:
        """The cut-off of the PD-L1 network."""
        return _cut_off(self.findings.companion_model)

    def egfr_text(self, score: float) -> str:
        """Return an EGFR-DLS as it is printed everywhere."""
        return score_text(score, self.egfr_cut_off)

    def pdl1_text(self, score: float) -> str:
        """Return a PDL1_DLS as it is printed everywhere."""
        return score_text(score, self.pdl1_cut_off)

    def status(self, score: float) -> EgfrStatus:
        """Return the side of the cut-off on which an unrounded EGFR-DLS lies."""
        return egfr_status(score, self.egfr_cut_off, self.indeterminate_band)


def _cut_off(model: ModelUse | None) -> float:
    return CUT_OFF if model is None else model.cut_off
