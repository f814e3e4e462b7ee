"""The pathway table and its overrides, exhaustively (docs/reference/science.md C1, C2)."""

from __future__ import annotations

from itertools import product

import pytest

from egfr_dls.refusals import WarningCode
from egfr_dls.study import Pathway
from inference.biomarkers.clinical_context import ClinicalContext, Histology
from inference.biomarkers.pet_ct_egfr.pathway import (
    BOUNDS,
    CAVEATS,
    HISTOLOGY_SENTENCE,
    TABLE,
    Circumstances,
    Level,
    suggest,
)

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


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    ("beyond", "said"),
    [
        ({"published_cut_offs": False}, "a cut-off other than 0.5"),
        ({"margin_kept": False}, "less than 10 or more than 20 mm around the tumour"),
        ({"uptake_seen": False}, "a region without uptake"),
        ({"margin_kept": False, "uptake_seen": False}, "around the tumour, nor for a region without uptake"),
    ],
)
def test_evidence_is_quoted_within_its_bounds_only(
    pair: tuple[Level, Level], beyond: dict[str, bool], said: str
) -> None:
    """Beyond them the outcome stays, no figure of the paper is printed, and the reason is said."""
    pathway, evidence = EXPECTED[pair]
    tissue = ClinicalContext(histology=Histology.ADENOCARCINOMA, tissue_pdl1_tps_percent=80)
    for context in (ADENO, tissue):
        suggestion = suggest(*pair, Circumstances(roi_confirmed=True, context=context, **beyond))
        assert "p = " not in suggestion.rationale
        assert "p < " not in suggestion.rationale
        assert "DCB" not in suggestion.rationale
        assert (said in suggestion.rationale) == bool(evidence)
    assert suggest(*pair, Circumstances(roi_confirmed=True, context=ADENO, **beyond)).pathway is pathway


def test_every_bound_is_one_circumstance() -> None:
    assert [bound.holds(Circumstances()) for bound in BOUNDS] == [True] * len(BOUNDS)
    assert len(BOUNDS) == 3


@pytest.mark.parametrize(
    ("tps", "figures"),
    [
        (1.0, ("54.54 %", "76.67 %", "18.18 %", "6.67 %")),
        (80.0, ("54.54 %", "76.67 %", "18.18 %", "6.67 %")),
        (0.9, ("20.00 %", "57.89 %", "60.00 %", "36.84 %")),
        (0.0, ("20.00 %", "57.89 %", "60.00 %", "36.84 %")),
    ],
)
def test_with_a_tissue_pd_l1_the_line_says_what_its_figures_are_of(tps: float, figures: tuple[str, ...]) -> None:
    """Those of the table are of PDL1_DLS; those of immunohistochemistry stand beside them."""
    context = ClinicalContext(histology=Histology.ADENOCARCINOMA, tissue_pdl1_tps_percent=tps)
    text = suggest(LOW, MISSING, Circumstances(roi_confirmed=True, context=context)).rationale
    assert "Evidence, of PDL1_DLS: " in text
    assert "of immunohistochemistry, treated with ICI: " in text
    assert all(figure in text for figure in figures)
    assert text.count("Mu et al. 2020, Nat Commun 11:5228") == 1
    without = suggest(LOW, HIGH, Circumstances(roi_confirmed=True, context=ADENO)).rationale
    assert "immunohistochemistry" not in without


def test_figures_that_could_not_be_confirmed_are_never_quoted() -> None:
    """C3: the DCB of high scores under ICI repeats the hyperprogression figure; the plain medians are no Kaplan-Meier's."""
    for pair, context in product(PAIRS, CONTEXTS):
        text = suggest(*pair, Circumstances(context=context)).rationale
        assert "33.33" not in text
        assert "median" not in text
        assert ("34.29 %" in text) == ("34.29 % (ICI, as printed)" in text)


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (
            ClinicalContext(),
            "Not known to this software: tissue EGFR, tissue PD-L1, treatment status.",
        ),
        (
            ClinicalContext(Histology.ADENOCARCINOMA, False, None, 0.0),
            "Stated by the site: adenocarcinoma, tissue PD-L1 TPS 0 %, no treatment before the scan. "
            "Not known to this software: tissue EGFR.",
        ),
        (
            ClinicalContext(Histology.OTHER, True, False, 12.5),
            "Stated by the site: not adenocarcinoma, tissue EGFR wild type, tissue PD-L1 TPS 12.5 %, treatment before the scan.",
        ),
    ],
)
def test_what_is_known_is_said_and_what_is_unknown_too(context: ClinicalContext, said: str) -> None:
    """At the end of every rationale, whatever decided; so a tissue result is never passed over."""
    for pair, chest in product(PAIRS, (True, False)):
        assert suggest(*pair, Circumstances(lesion_in_chest=chest, context=context)).rationale.endswith(said)
