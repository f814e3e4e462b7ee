"""What is known of the patient from outside the images; nothing is ever guessed from free text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Histology(StrEnum):
    """The tumour's type."""

    UNKNOWN = "unknown"
    ADENOCARCINOMA = "adenocarcinoma"
    OTHER = "other"


@dataclass(frozen=True)
class ClinicalContext:
    """Facts that a site may give; everything is unknown by default.

    ``treatment_began`` means before the scan; ``tissue_pdl1_tps_percent`` is the tumour proportion score, 0..100.
    """

    histology: Histology = Histology.UNKNOWN
    treatment_began: bool | None = None
    tissue_egfr_mutant: bool | None = None
    tissue_pdl1_tps_percent: float | None = None


UNKNOWN = ClinicalContext()
