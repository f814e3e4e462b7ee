"""What is known of the patient from outside the images; nothing is ever guessed from free text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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

# fact, what it is called while nobody stated it, and how it is said
_WORDS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("histology", "histology", {"adenocarcinoma": "adenocarcinoma", "other": "not adenocarcinoma"}.__getitem__),
    ("tissue_egfr_mutant", "tissue EGFR", {True: "tissue EGFR mutant", False: "tissue EGFR wild type"}.__getitem__),
    ("tissue_pdl1_tps_percent", "tissue PD-L1", lambda tps: f"tissue PD-L1 TPS {tps:g} %"),
    (
        "treatment_began",
        "treatment status",
        {True: "treatment before the scan", False: "no treatment before the scan"}.__getitem__,
    ),
)


def in_words(context: ClinicalContext) -> tuple[str, ...]:
    """Return a sentence of what the site states, and one of what nobody stated; each only where it says something.

    An unknown histology is left out: the pathway has a sentence and a warning of its own for it.
    """
    stated, unknown = [], []
    for fact, name, said in _WORDS:
        value = getattr(context, fact)
        if value is None:
            unknown.append(name)
        elif value is not Histology.UNKNOWN:
            stated.append(said(value))
    sentences = (("Stated by the site", stated), ("Not known to this software", unknown))
    return tuple(f"{head}: {', '.join(facts)}" for head, facts in sentences if facts)
