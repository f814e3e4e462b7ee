"""Page images: what they say, that it fits and does not overlap, and that they are what an archive shows."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import PatientFinding, PriorFinding
from egfr_dls.refusals import Remark
from inference.biomarkers.pet_ct_egfr.pathway import CAVEATS
from reporting.build import to_bytes
from reporting.context import Revision
from reporting.page_content import Line, Page, ScoreBar, Tone
from reporting.page_drawing import CUT, HEIGHT, WIDTH, draw, marks
from reporting.page_marks import Words
from reporting.page_set import pages
from reporting.page_slices import MAX_SLICE_PAGES, key_slices, map_scale, pet_range, scored_slices
from reporting.page_text import printable, word_width, wrapped
from reporting.secondary_capture import pages_png
from tests.builders import STUDY_UID
from tests.reporting.report_cases import (
    VARIANTS,
    Case,
    demonstration,
    lesion_evidence,
    lesion_finding,
    refused,
    scored,
    source_images,
    stored_seg,
    two_lesions,
)


def said(page: Page) -> str:
    """Return all words of a page."""
    column = [item.text for item in page.column if isinstance(item, Line)]
    return "\n".join([page.heading, page.banner or "", *column, *(p.caption for p in page.panels), page.footer])


def drawn(page: Page) -> list[Words]:
    """Return the lines of text that are drawn on a page."""
    return [mark for mark in marks(page) if isinstance(mark, Words) and mark.text]


def long_winded() -> Case:
    """Return a study with far more to say than fits on a page."""
    return scored(
        warnings=tuple(Remark(f"WARNING_{i}", "something that a reader must know " * 6) for i in range(20)),
        lesions=(lesion_finding(roi_description="a rule that is explained at great length " * 8),),
    )


def test_the_summary_gives_score_spread_cut_off_pathway_origin_and_limits() -> None:
    summary, *slices = pages(scored().context)
    words = said(summary)
    for expected in (
        "EGFR-DLS\n0.7098",
        "Image score suggests an EGFR-mutant pattern.",
        "Cut-off 0.5. 3 slices scored, standard deviation 0.0513.",
        "PDL1_DLS 0.3121 (low, cut-off 0.5).",
        "Unverified ROI: Image scores favour the EGFR TKI pathway.\nEGFR-DLS high",
        "NOT confirmed by a person",
        "HISTOLOGY_UNKNOWN",
        "network egfr-test 1.2.0 (research), sha256 abababababababab",
    ):
        assert expected in words
    assert len(slices) == 3


def test_a_slice_page_gives_its_score_position_and_number() -> None:
    words = said(pages(scored().context)[2])
    for expected in ("slice 2 of 3", "0.7304", "Position 16.0 mm", "3 of 3 slices shown", "not diagnostic"):
        assert expected in words


def test_a_slice_page_says_whose_region_nobody_has_confirmed() -> None:
    case = stored_seg()
    unseen = case.but(lesions=tuple(replace(lesion, confirmed=False) for lesion in case.findings.lesions))
    assert "Region of interest: stored SEG, NOT confirmed by a person." in said(pages(unseen.context)[1])
    assert "Region of interest: proposed, NOT confirmed by a person." in said(pages(scored().context)[1])
    assert "NOT confirmed" not in said(pages(case.context)[1])


def test_a_network_without_activation_maps_gives_two_pictures_and_no_word_of_maps() -> None:
    case = replace(scored(), evidence=EvidenceImages((lesion_evidence(maps=False),), pet_is_suv=False))
    page = pages(case.context)[1]
    assert len(page.panels) == 2
    assert "Grad-CAM" not in said(page)
    assert "relative units" in said(page)
    assert draw(page).shape == (HEIGHT, WIDTH, 3)


def test_a_refusal_is_one_page_that_says_not_scored_and_why() -> None:
    (page,) = pages(refused().context)
    for expected in (
        "NOT SCORED\nPatient weight missing or implausible.\nSUV_NO_WEIGHT: ",
        "Needed: 20 to 300 kg",
        "Not scored does not mean negative",
        "PT series not used",
    ):
        assert expected in said(page)
    assert page.panels == ()
    assert not any(word in said(page) for word in ("favour", "0.7098", "suggests"))


def test_a_demonstration_says_so_on_every_page() -> None:
    for case in (demonstration(scored()), demonstration(refused())):
        assert {page.banner for page in pages(case.context)} == {"DEMONSTRATION, not a patient result"}
    assert {page.banner for page in pages(scored().context)} == {None}


def test_no_identifier_of_the_patient_is_burned_in() -> None:
    for page in pages(scored().context):
        assert not any(secret in said(page) for secret in ("BUILDER", "TEST-1", "19600101", STUDY_UID))


def test_no_date_is_burned_in_whatever_a_warning_quotes() -> None:
    """The footer tells revisions apart by number: the time of analysis is near the study's date."""
    quoted = Remark("SUV_GE_DATE_IMPLAUSIBLE", "GE scan date-time (0009,100D) is '19591224095947.00', not '19600116'.")
    prior = PriorFinding("2025-01-31", 0.49, None, "ledger", False, "egfr 1.0.0", "ab" * 32, 0.5)
    case = replace(scored(warnings=(quoted,), priors=(prior,)), revision=Revision(2))
    words = "\n".join(said(page) for page in pages(case.context))
    assert "is '[date]', not '[date]'." in words
    assert "Earlier EGFR-DLS: [date] 0.4900" in words
    assert "revision 2" in words
    assert not re.search(r"19591224|19600116|2025", words)


def test_one_long_warning_takes_no_room_from_the_limits() -> None:
    long = Remark("ROI_AMBIGUOUS", "segment 1 'Segment_1' of SEG 1.2.276.0.7230010, " * 20)
    words = " ".join(line.text for line in drawn(pages(scored(warnings=(long,)).context)[0]))
    assert "… (in full in the structured report)" in words
    assert "Valid for adenocarcinoma only." in words
    assert CUT not in words


def test_many_slices_are_chosen_evenly_and_counted() -> None:
    finding = lesion_finding(slices=lesion_finding().slices[:1] * 37)
    evidence = lesion_evidence()
    many = replace(
        evidence,
        **{n: np.repeat(getattr(evidence, n)[:1], 37, axis=0) for n in ("ct_hu", "pet", "roi", "box")},
        cam_positive=None,
        cam_negative=None,
    )
    case = replace(scored(lesions=(finding,)), evidence=EvidenceImages((many,), pet_is_suv=True))
    chosen = [s.index for s in key_slices(scored_slices(case.context))]
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 36, MAX_SLICE_PAGES)
    assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1
    assert "12 of 37 slices shown" in said(pages(case.context)[1])


def test_pictures_of_all_pages_share_one_scale() -> None:
    context = scored().context
    assert pet_range(context) == 8.0
    assert map_scale(context) == pytest.approx(1.0, abs=0.01)
    strong, weak = (page.panels[2].overlay for page in pages(context)[1:3])
    assert strong is not None
    assert weak is not None
    assert weak.max() == pytest.approx(0.7 * strong.max(), rel=1e-3)


def test_the_edges_carry_their_anatomical_letters() -> None:
    assert pages(scored().context)[1].panels[0].edges == ("R", "A")
    prone = replace(scored(), sources=source_images(ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]))
    assert pages(prone.context)[1].panels[0].edges == ("L", "P")


@pytest.mark.parametrize("variant", [*VARIANTS, "long"])
def test_every_word_lies_on_the_sheet_and_over_no_other(variant: str) -> None:
    case = long_winded() if variant == "long" else VARIANTS[variant]()
    for page in pages(case.context)[:2]:
        boxes = [(words.text, words.box) for words in drawn(page)]
        for words, (x0, y0, x1, y1) in boxes:
            assert x0 >= 0, words
            assert x1 <= WIDTH, words
            assert y0 >= 0, words
            assert y1 <= HEIGHT, words
        for (words, (x0, y0, x1, y1)), (others, (left, upper, right, lower)) in combinations(boxes, 2):
            overlap_x = min(x1, right) - max(x0, left)
            overlap_y = min(y1, lower) - max(y0, upper)
            assert not (overlap_x > 1 and overlap_y > 1), f"{words!r} over {others!r}"


def test_what_does_not_fit_is_said_to_stand_in_the_report() -> None:
    assert CUT in [words.text for words in drawn(pages(long_winded().context)[0])]
    assert CUT not in [words.text for words in drawn(pages(scored().context)[0])]


@pytest.mark.parametrize("case", [scored(), long_winded()], ids=["short", "long"])
def test_that_it_is_no_molecular_test_stands_directly_below_the_score(case: Case) -> None:
    """However much there is to say: the end of the column is cut, this is not."""
    words = [line.text for line in drawn(pages(case.context)[0])]
    below = " ".join(words[words.index("0.7098") + 1 :])
    assert below.startswith("An image score is not a molecular test and does not replace one.")


def test_the_bar_shows_the_slices_of_the_lesion_whose_score_it_is() -> None:
    """Of the first lesion with a score, as the sentence on spread; a further lesion has its own score."""
    first, second = lesion_finding(egfr_dls=None, slices=()), lesion_finding("Lesion 2")
    third = lesion_finding("Lesion 3", slices=tuple(replace(s, egfr_dls=0.1) for s in second.slices))
    column = pages(scored(lesions=(first, second, third)).context)[0].column
    (bar,) = (item for item in column if isinstance(item, ScoreBar))
    assert bar.scores == tuple(s.egfr_dls for s in second.slices)


def test_text_that_no_font_or_formula_can_take_is_drawn_all_the_same() -> None:
    hostile = "肿瘤 $\\frac{1}{0}$ <b>\x00\n\x1b[31m" + "W" * 400
    page = Page(heading="h", banner=None, column=(Line(hostile, Tone.BODY),), panels=(), footer=hostile[:20])
    assert draw(page).shape == (HEIGHT, WIDTH, 3)
    assert printable("肿瘤\x00a\nb") == "??a b"


def test_paragraphs_break_within_their_width() -> None:
    for line in wrapped("a rather long sentence that must be broken " * 3 + "W" * 90, 17, 200):
        assert word_width(line, 17) <= 200 + 1


def test_the_object_holds_the_drawn_pages() -> None:
    case = stored_seg().with_pages()
    ds = dcmread(io.BytesIO(to_bytes(case.build()["pages"])))
    assert (ds.NumberOfFrames, ds.Rows, ds.Columns, ds.PhotometricInterpretation) == (4, HEIGHT, WIDTH, "RGB")
    assert list(ds.PageNumberVector) == [1, 2, 3, 4]
    summary = Image.open(io.BytesIO(pages_png(ds)[0]))
    assert summary.info == {"Software": "egfr-dls"}
    assert np.array_equal(np.asarray(summary), draw(pages(case.context)[0]))


def test_an_object_is_written_as_often_as_it_is_asked_for() -> None:
    """Its pixels are a buffer, and a buffer has a place where it is read."""
    made = refused().with_pages().build()["pages"]
    assert to_bytes(made) == to_bytes(made)
    assert len(to_bytes(made)) > WIDTH * HEIGHT * 3


def test_the_object_names_its_sources_and_that_words_are_burned_in() -> None:
    ds: Dataset = scored().with_pages().build()["pages"].dataset
    assert (ds.BurnedInAnnotation, ds.ConversionType, ds.LossyImageCompression) == ("YES", "WSD", "00")
    assert {i.ReferencedSOPInstanceUID for i in ds.SourceImageSequence} == set(scored().findings.images_read)
    assert ds.DerivationCodeSequence[0].CodeValue == "130403"


def test_with_several_lesions_the_summary_says_whose_score_it_is_and_names_each_in_short() -> None:
    words = said(pages(two_lesions().context)[0])
    assert "EGFR-DLS of Lesion 1\n0.7098" in words
    assert "Lesion 1: EGFR-DLS 0.7098, SUVmax 10.00 g/ml; proposed, NOT confirmed." in words
    assert "CT, Lesion 1, " in words
    assert "4 mm search grid" not in words
    assert "EGFR-DLS\n0.7098" in said(pages(scored().context)[0])


def test_every_limit_of_the_biomarker_finds_its_place_beside_three_lesions() -> None:
    lesions = tuple(lesion_finding(f"Lesion {n}") for n in (1, 2, 3))
    patient = replace(scored().findings.patient, caveats=CAVEATS)
    words = " ".join(
        line.text for line in drawn(pages(demonstration(scored(lesions=lesions, patient=patient)).context)[0])
    )
    assert CUT not in words
    assert all(caveat in words for caveat in CAVEATS)


def test_the_summary_shows_the_lesion_whose_score_it_gives() -> None:
    first = lesion_finding(egfr_dls=None, slices=(), reason=Remark("ROI_TOO_SMALL", "0.2 ml"))
    second = lesion_finding("Lesion 2")
    larger = replace(lesion_evidence(), roi=np.ones_like(lesion_evidence().roi))
    evidence = EvidenceImages((larger, lesion_evidence("Lesion 2")), pet_is_suv=True)
    case = replace(scored(lesions=(first, second)), evidence=evidence)
    assert pages(case.context)[0].panels[0].caption.startswith("CT, Lesion 2, ")


def test_a_map_says_how_much_of_the_patients_scale_it_reaches() -> None:
    """An empty picture is a filter that is nearly shut, not a fault."""
    captions = [panel.caption for panel in pages(scored().context)[2].panels[2:]]
    assert captions == ["Activation, EGFR-mutant pattern, peak 0.70", "Activation, wild-type pattern, peak 0.10"]


@pytest.mark.parametrize("variant", [*VARIANTS, "long"])
def test_the_score_is_one_word_on_one_line(variant: str) -> None:
    case = long_winded() if variant == "long" else VARIANTS[variant]()
    for page in pages(case.context):
        (score,) = (item.text for item in page.column if isinstance(item, Line) and item.tone is Tone.SCORE)
        assert score in [words.text for words in drawn(page)]


def test_words_are_as_large_as_their_column_allows() -> None:
    sizes = [
        next(words.size for words in drawn(pages(case.context)[0]) if words.text in {"0.7098", "NOT SCORED"})
        for case in (refused(), scored(), long_winded())
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_lesion_without_score_is_named_with_its_reason() -> None:
    assert "Lesion 2: not scored. FOV_TRUNCATED" in said(pages(two_lesions().context)[0])


def test_findings_without_a_patient_score_draw_no_number() -> None:
    page = pages(scored(patient=PatientFinding()).context)[0]
    assert not [item for item in page.column if isinstance(item, Line) and item.tone is Tone.SCORE]
