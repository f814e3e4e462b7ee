"""The pathway table and its overrides, exhaustively (docs/reference/science.md C1, C2)."""

from __future__ import annotations

from itertools import product

import pytest

from egfr_dls.refusals import WarningCode
from egfr_dls.study import Pathway
from inference.biomarkers.clinical_context import ClinicalContext, Histology
from inference.biomarkers.pet_ct_egfr.pathway import CAVEATS, HISTOLOGY_SENTENCE, TABLE, Circumstances, Level, suggest

HIGH, LOW, MISSING = Level.HIGH, Level.LOW, Level.MISSING
# outcome and a figure of the evidence line, typed here from the specification and not from the code
EXPECTED = {
    (HIGH, LOW): (Pathway.TKI, "p = 0.013"),
    (HIGH, HIGH): (Pathway.TKI, "80.00 % (TKI) vs 50.00 % (ICI), p = 0.57"),
    (HIGH, MISSING): (Pathway.TKI, "p = 0.01 "),
    (LOW, HIGH): (Pathway.ICI, "p < 0.001"),
    (LOW, LOW): (Pathway.NEITHER_FAVOURED, "34.29 % (ICI, as printed) vs 6.25 % (TKI), p = 0.041"),
    (LOW, MISSING): (Pathway.INDETERMINATE_PDL1_NEEDED, "p < 0.001"),
    (MISSING, HIGH): (Pathway.NO_SUGGESTION, ""),
    (MISSING, LOW): (Pathway.NO_SUGGESTION, ""),
    (MISSING, MISSING): (Pathway.NO_SUGGESTION, ""),
}
ADENO = ClinicalContext(histology=Histology.ADENOCARCINOMA)
PAIRS = list(product(Level, Level))


@pytest.mark.parametrize("pair", PAIRS)
def test_each_cell_has_its_outcome_and_its_evidence(pair: tuple[Level, Level]) -> None:
    """With a confirmed region and adenocarcinoma the table alone decides."""
    pathway, evidence = EXPECTED[pair]
    suggestion = suggest(*pair, Circumstances(roi_confirmed=True, context=ADENO))
    assert suggestion.pathway is pathway
    assert evidence.strip() in suggestion.rationale
    assert ("Mu et al. 2020, Nat Commun 11:5228" in suggestion.rationale) == bool(evidence)
    assert suggestion.warnings == ()
    assert HISTOLOGY_SENTENCE not in suggestion.rationale


def test_the_table_is_whole() -> None:
    """Every pair of levels has a cell."""
    assert set(TABLE) == set(PAIRS)


CONTEXTS = [
    ClinicalContext(histology=h, treatment_began=t, tissue_egfr_mutant=e, tissue_pdl1_tps_percent=p)
    for h, t, e, p in product(Histology, (None, False, True), (None, False, True), (None, 0.0, 1.0, 80.0))
]


@pytest.mark.parametrize("pair", PAIRS)
def test_every_combination_follows_the_order_of_overrides(pair: tuple[Level, Level]) -> None:
    """Two independent statements of C2 agree on all 864 circumstances of each pair."""
    for tracer, chest, confirmed, context in product((True, False), (True, False), (True, False), CONTEXTS):
        circumstances = Circumstances(tracer, chest, confirmed, context)
        suggestion = suggest(*pair, circumstances)
        blocked = (
            not tracer
            or not chest
            or context.treatment_began is True
            or context.histology is Histology.OTHER
            or context.tissue_egfr_mutant is not None
        )
        pdl1 = pair[1]
        if context.tissue_pdl1_tps_percent is not None:
            pdl1 = HIGH if context.tissue_pdl1_tps_percent >= 1 else LOW
        wanted = Pathway.NO_SUGGESTION if blocked else EXPECTED[pair[0], pdl1][0]
        assert suggestion.pathway is wanted, circumstances
        assert suggestion.rationale.startswith("Unverified ROI") != confirmed
        unknown = context.histology is Histology.UNKNOWN
        assert (HISTOLOGY_SENTENCE in suggestion.rationale) == unknown
        assert [w.code for w in suggestion.warnings] == [WarningCode.HISTOLOGY_UNKNOWN] * unknown
        assert suggestion.caveats == CAVEATS


@pytest.mark.parametrize(
    ("circumstances", "words"),
    [
        (Circumstances(tracer_stated=False), "tracer is not stated"),
        (Circumstances(lesion_in_chest=False), "outside the chest"),
        (Circumstances(context=ClinicalContext(treatment_began=True)), "Treatment began before the scan"),
        (Circumstances(context=ClinicalContext(histology=Histology.OTHER)), "outside the evidence"),
    ],
)
def test_an_override_says_why(circumstances: Circumstances, words: str) -> None:
    """No suggestion never comes without its reason."""
    assert words in suggest(HIGH, LOW, circumstances).rationale


@pytest.mark.parametrize(
    ("egfr", "mutant", "words"),
    [
        (HIGH, True, "mutant, which outranks the image score; the image score agrees with tissue"),
        (HIGH, False, "wild type, which outranks the image score; the image score disagrees with tissue"),
        (LOW, True, "disagrees with tissue"),
        (LOW, False, "agrees with tissue"),
    ],
)
def test_a_tissue_result_outranks_the_score(egfr: Level, mutant: bool, words: str) -> None:
    """The tissue result comes first, then whether the image score agrees."""
    context = ClinicalContext(tissue_egfr_mutant=mutant)
    suggestion = suggest(egfr, LOW, Circumstances(roi_confirmed=True, context=context))
    assert suggestion.pathway is Pathway.NO_SUGGESTION
    assert suggestion.rationale.startswith("Tissue EGFR: ")
    assert words in suggestion.rationale


def test_a_tissue_pd_l1_takes_the_place_of_the_score_and_says_so() -> None:
    """TPS of 1 % and more counts as high."""
    context = ClinicalContext(tissue_pdl1_tps_percent=1.0)
    suggestion = suggest(LOW, MISSING, Circumstances(context=context))
    assert suggestion.pathway is Pathway.ICI
    assert "tissue PD-L1 TPS 1 % in place of PDL1_DLS" in suggestion.rationale


def test_the_wording_suggests_and_never_asserts() -> None:
    """Reasons find no mutation and prescribe nothing (C5); what is concluded stands in the pathway alone."""
    for pair in PAIRS:
        text = suggest(*pair, Circumstances()).rationale
        assert not any(phrase in text for phrase in ("is EGFR mutant", "responds", "should receive", "favour"))
