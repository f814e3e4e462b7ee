"""The suggested pathway: a table of both scores, and what overrules it (docs/reference/science.md C).

Mu et al. 2020, Nat Commun 11:5228. The guideline was analysed in adenocarcinoma only; its figure 4h was not
available, so the table follows its text. What is concluded is the ``Pathway``; the report has the sentence for it, and
here stand the reasons: never a finding about tissue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from egfr_dls.findings import RESEARCH_USE, UNVERIFIED_ROI
from egfr_dls.refusals import Remark, WarningCode
from egfr_dls.study import Pathway
from inference.biomarkers.clinical_context import ClinicalContext, Histology, in_words

CITATION = "Mu et al. 2020, Nat Commun 11:5228"
PDL1_POSITIVE_TPS_PERCENT = 1.0
PUBLISHED_CUT_OFF = 0.5  # of both scores


class Level(StrEnum):
    """Where a score lies."""

    HIGH = "high"
    LOW = "low"
    MISSING = "missing"


@dataclass(frozen=True)
class Cell:
    """One outcome of the table and the printed evidence behind it."""

    pathway: Pathway
    evidence: str


_HIGH, _LOW, _MISSING = Level.HIGH, Level.LOW, Level.MISSING
_NOTHING = Cell(Pathway.NO_SUGGESTION, "")

# (EGFR-DLS, PDL1_DLS); the evidence is as printed in the paper
TABLE: dict[tuple[Level, Level], Cell] = {
    (_HIGH, _LOW): Cell(
        Pathway.TKI,
        "PFS longer with TKI than with ICI, p = 0.013",
    ),
    (_HIGH, _HIGH): Cell(
        Pathway.TKI,
        "TKI regardless of PDL1_DLS: PFS not different, p = 0.52; DCB 80.00 % (TKI) vs 50.00 % (ICI), p = 0.57, not significant",
    ),
    (_HIGH, _MISSING): Cell(
        Pathway.TKI,
        "high EGFR-DLS: PFS longer with TKI than with ICI, p = 0.01",
    ),
    (_LOW, _HIGH): Cell(
        Pathway.ICI,
        "PFS longer with ICI than with TKI, p < 0.001",
    ),
    (_LOW, _LOW): Cell(
        Pathway.NEITHER_FAVOURED,
        'PFS not different, p = 0.54; "may not be responsive to either"; '
        "1-year PFS 34.29 % (ICI, as printed) vs 6.25 % (TKI), p = 0.041",
    ),
    (_LOW, _MISSING): Cell(
        Pathway.INDETERMINATE_PDL1_NEEDED,
        "low EGFR-DLS: PFS longer with ICI than with TKI, p < 0.001",
    ),
    (_MISSING, _HIGH): _NOTHING,
    (_MISSING, _LOW): _NOTHING,
    (_MISSING, _MISSING): _NOTHING,
}

CAVEATS: tuple[str, ...] = (
    RESEARCH_USE,
    "The evidence is retrospective and heterogeneous.",
    "TKI patients (Harbin) and ICI patients (Tampa) are different populations, not randomised arms.",
    "EGFR status was determined at diagnosis.",
    "Only 75 ICI patients had a PD-L1 test.",
    "Valid for a region that holds the tumour and 10 to 20 mm around it.",
    "Training positives are any EGFR exon mutation, including ones that resist TKIs.",
    "The validation set was used to pick the published model.",
    "Accuracy within adenocarcinoma alone is lower than the figures over all histologies.",
)
# the ICI cohort by its PD-L1 immunohistochemistry: what there is where a tissue result takes the place of PDL1_DLS
TISSUE_PDL1_EVIDENCE: dict[Level, str] = {
    _HIGH: "PD-L1 positive: DCB 54.54 % (high EGFR-DLS) vs 76.67 % (low), hyperprogression 18.18 % vs 6.67 %",
    _LOW: "PD-L1 negative: DCB 20.00 % (high EGFR-DLS) vs 57.89 % (low), hyperprogression 60.00 % vs 36.84 %",
}
HISTOLOGY_SENTENCE = "valid for adenocarcinoma only; histology not known to this software"


@dataclass(frozen=True)
class Circumstances:
    """What the pathway depends on beside the scores.

    ``published_cut_offs``: both networks' are those of the paper; ``margin_kept``: 10 to 20 mm lie around the lesion on every
    slice; ``uptake_seen``: the lesion is hotter than what lies around it.
    """

    tracer_stated: bool = True
    lesion_in_chest: bool = True
    roi_confirmed: bool = False
    context: ClinicalContext = field(default_factory=ClinicalContext)
    published_cut_offs: bool = True
    margin_kept: bool = True
    uptake_seen: bool = True


@dataclass(frozen=True)
class Suggestion:
    """The pathway, the reasons for it and the warnings that go with it."""

    pathway: Pathway
    rationale: str
    caveats: tuple[str, ...]
    warnings: tuple[Remark, ...]


@dataclass(frozen=True)
class Override:
    """A circumstance in which nothing is suggested."""

    applies: Callable[[Circumstances], bool]
    reason: Callable[[Circumstances, Level], str]


def _says(sentence: str) -> Callable[[Circumstances, Level], str]:
    return lambda _circumstances, _egfr: sentence


def _tissue(circumstances: Circumstances, egfr: Level) -> str:
    mutant = bool(circumstances.context.tissue_egfr_mutant)
    sentence = f"Tissue EGFR: {'mutant' if mutant else 'wild type'}, which outranks the image score"
    if egfr is Level.MISSING:
        return sentence
    agrees = (egfr is Level.HIGH) == mutant
    return f"{sentence}; the image score {'agrees' if agrees else 'disagrees'} with tissue"


# in this order, the first that applies decides
OVERRIDES: tuple[Override, ...] = (
    Override(
        lambda c: not c.tracer_stated,
        _says("The tracer is not stated, and the evidence is for FDG"),
    ),
    Override(
        lambda c: not c.lesion_in_chest,
        _says("The lesion lies outside the chest, and the evidence is for lung tumours"),
    ),
    Override(
        lambda c: c.context.treatment_began is True,
        _says("Treatment began before the scan, and the evidence is for scans before it"),
    ),
    Override(
        lambda c: c.context.histology is Histology.OTHER,
        _says("The histology is not adenocarcinoma and lies outside the evidence"),
    ),
    Override(lambda c: c.context.tissue_egfr_mutant is not None, _tissue),
)


@dataclass(frozen=True)
class Bound:
    """A condition under which the paper's figures were found; beyond it they are not quoted."""

    holds: Callable[[Circumstances], bool]
    beyond: str


BOUNDS: tuple[Bound, ...] = (
    Bound(lambda c: c.published_cut_offs, f"a cut-off other than {PUBLISHED_CUT_OFF:g}"),
    Bound(lambda c: c.margin_kept, "less than 10 or more than 20 mm around the tumour"),
    Bound(lambda c: c.uptake_seen, "a region without uptake of its own"),
)


def suggest(egfr: Level, pdl1: Level, circumstances: Circumstances) -> Suggestion:
    """Return the pathway for both levels, with its evidence, annotations and caveats."""
    pathway, sentences = _decide(egfr, pdl1, circumstances)
    if not circumstances.roi_confirmed:
        sentences[0] = f"{UNVERIFIED_ROI}{sentences[0]}"
    warnings: tuple[Remark, ...] = ()
    if circumstances.context.histology is Histology.UNKNOWN:
        sentences.append(f"This is {HISTOLOGY_SENTENCE}")
        warnings = (Remark(WarningCode.HISTOLOGY_UNKNOWN, HISTOLOGY_SENTENCE),)
    sentences.extend(in_words(circumstances.context))
    return Suggestion(pathway, ". ".join(sentences) + ".", CAVEATS, warnings)


def _decide(egfr: Level, pdl1: Level, circumstances: Circumstances) -> tuple[Pathway, list[str]]:
    for override in OVERRIDES:
        if override.applies(circumstances):
            return Pathway.NO_SUGGESTION, [override.reason(circumstances, egfr)]
    tps = circumstances.context.tissue_pdl1_tps_percent
    if tps is not None:
        pdl1 = Level.HIGH if tps >= PDL1_POSITIVE_TPS_PERCENT else Level.LOW
    cell = TABLE[egfr, pdl1]
    sentences = [f"EGFR-DLS {egfr}, {_pdl1_words(pdl1, tps)}"]
    if cell.evidence:
        sentences.append(_evidence(cell, None if tps is None else pdl1, circumstances))
    return cell.pathway, sentences


def _evidence(cell: Cell, tissue_pdl1: Level | None, circumstances: Circumstances) -> str:
    """Return the evidence line of a cell, or why it is not quoted."""
    beyond = [bound.beyond for bound in BOUNDS if not bound.holds(circumstances)]
    if beyond:
        return f"No evidence is quoted, since the paper ({CITATION}) has none for {', nor for '.join(beyond)}"
    if tissue_pdl1 is None:
        return f"Evidence: {cell.evidence} ({CITATION})"
    return (
        f"Evidence, of PDL1_DLS: {cell.evidence}; of immunohistochemistry, treated with ICI: "
        f"{TISSUE_PDL1_EVIDENCE[tissue_pdl1]} ({CITATION})"
    )


def _pdl1_words(pdl1: Level, tps_percent: float | None) -> str:
    if tps_percent is None:
        return f"PDL1_DLS {pdl1}"
    return f"tissue PD-L1 TPS {tps_percent:g} % in place of PDL1_DLS: {pdl1}"
