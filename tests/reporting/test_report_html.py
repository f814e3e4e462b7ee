"""The HTML report: self-contained, escaped, and with everything that the structured report says."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from egfr_dls.findings import ObjectEntry, PriorFinding, SeriesFinding
from egfr_dls.refusals import Remark
from egfr_dls.study import RoiSource
from reporting import wording
from reporting.printed_scores import PrintedScores
from reporting.report_html import report_html
from reporting.score_plot import score_plot
from tests.reporting.report_cases import (
    VARIANTS,
    demonstration,
    lesion_finding,
    refused,
    scored,
    scored_findings,
    two_lesions,
)

PNG = b"\x89PNG\r\n\x1a\nnot a picture"
HOSTILE = '<script>alert("x")</script>&\'"'
VOID = {"meta", "img"}


class Balanced(HTMLParser):
    """Collects the words and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_report_is_well_formed_and_loads_nothing_from_elsewhere(variant: str) -> None:
    page = report_html(VARIANTS[variant]().findings, [PNG, PNG])
    assert "script" not in parsed(page).tags
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/png;base64,)""", page)
    assert not re.search(r"https?://|@import|url\(", page)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert page.count("<img alt=") == 2


def test_it_says_score_pathway_lesions_series_limits_and_digests() -> None:
    findings = scored_findings()
    words = "\n".join(parsed(report_html(findings)).words)
    for expected in (
        "0.7098",
        "EGFR-DLS, cut-off 0.5. 3 slices scored, standard deviation 0.0513.",
        "Unverified ROI: Image scores favour the EGFR TKI pathway.",
        wording.NOT_MOLECULAR,
        "proposed, NOT confirmed",
        "NOT confirmed by a person",
        "PET_NOT_ATTENUATION_CORRECTED: CorrectedImage lacks ATTN",
        "HISTOLOGY_UNKNOWN",
        "ab" * 32,
        "cd" * 32,
        "12" * 32,
        "34" * 32,
        findings.study_instance_uid,
    ):
        assert expected in words


def test_a_refusal_says_not_scored_with_its_reason_and_no_number() -> None:
    words = "\n".join(parsed(report_html(refused().findings)).words)
    assert "NOT SCORED" in words
    assert "PatientWeight (0010,1030) is missing" in words
    assert "favour" not in words
    assert "Suggested pathway" not in words


def test_a_demonstration_is_announced_in_title_and_body() -> None:
    page = report_html(demonstration(scored()).findings)
    assert "<title>EGFR-DLS report: DEMONSTRATION, not a patient result</title>" in page
    assert 'role="alert"' in page
    assert "DEMONSTRATION" not in report_html(scored_findings())


def test_whatever_a_header_says_is_escaped() -> None:
    findings = scored_findings(
        lesions=(lesion_finding(HOSTILE, roi_description=HOSTILE),),
        series=(SeriesFinding(HOSTILE, HOSTILE, HOSTILE, Remark(HOSTILE, HOSTILE)),),
        warnings=(Remark(HOSTILE, HOSTILE),),
        patient=replace(scored_findings().patient, rationale=HOSTILE, caveats=(HOSTILE,)),
    )
    page = report_html(findings, objects=[ObjectEntry("report", HOSTILE, "1", "2")])
    assert "script" not in parsed(page).tags
    assert HOSTILE in "".join(parsed(page).words)


def test_nulls_are_dashes_and_never_nan_or_none() -> None:
    bare = lesion_finding(suv_max=None, suv_mean=None, mtv_ml=None, tlg_g=None, pdl1_dls=None, slice_sd=None)
    words = parsed(report_html(scored_findings(lesions=(bare,)))).words
    assert "–" in words
    assert not {"None", "nan", "null"} & set(words)


def test_the_plot_marks_every_slice_and_the_cut_off() -> None:
    findings = scored_findings()
    svg = ElementTree.fromstring(score_plot(findings, PrintedScores(findings)))
    discs = svg.findall("svg/circle")
    assert len(discs) == 3
    heights = [float(c.attrib["cy"]) for c in discs]
    assert heights == sorted(heights, reverse=True)  # scores rise, the ordinate falls
    assert "cut-off" in [text.text for text in svg.findall("svg/text")]


def test_the_key_of_the_plot_names_each_line_by_its_lesion() -> None:
    unscored = lesion_finding("Lesion 2", egfr_dls=None, slices=())
    findings = scored_findings(lesions=(lesion_finding(), unscored, lesion_finding("Lesion 3")))
    plot = ElementTree.fromstring(score_plot(findings, PrintedScores(findings)))
    lines = [line.attrib["stroke"] for line in plot.findall("svg/polyline")]
    keys = {"".join(key.itertext()).strip(): key.find("svg/circle") for key in plot.findall("figcaption/span")}
    assert list(keys) == ["Lesion 1", "Lesion 3"]
    assert [disc.attrib["fill"] for disc in keys.values() if disc is not None] == lines
    assert len(set(lines)) == 2


def test_a_table_says_the_origin_in_short_and_the_sentence_stands_once() -> None:
    words = parsed(report_html(scored_findings())).words
    assert words.count("proposed, NOT confirmed") == 1
    assert words.count(wording.roi_sentence(lesion_finding())) == 1


def test_the_page_does_not_say_who_drew_a_stored_region_nor_when() -> None:
    """It is copied and mailed; the structured report says both."""
    stored = lesion_finding(source=RoiSource.STORED_SEG, roi_drawn_by="Reader Rita", roi_drawn_at="2024-05-01T10:11:12")
    html = report_html(scored_findings(lesions=(stored,)))
    assert "stored segmentation" in html
    assert not [word for word in ("Rita", "2024-05-01", "20240501") if word in html]


def test_a_lesion_without_score_bears_its_code_in_the_table_and_its_sentence_once() -> None:
    words = parsed(report_html(two_lesions().findings)).words
    assert "proposed, NOT confirmed; not scored: FOV_TRUNCATED" in words
    assert "\n".join(words).count("The tumour reaches the edge") == 1


def test_a_single_slice_stands_in_the_middle_of_the_plot() -> None:
    findings = scored_findings(lesions=(lesion_finding(slices=lesion_finding().slices[:1]),))
    svg = ElementTree.fromstring(score_plot(findings, PrintedScores(findings)))
    assert [text.text for text in svg.findall("svg/text")].count("12.0") == 1


def test_nothing_is_plotted_without_slices() -> None:
    findings = refused().findings
    assert score_plot(findings, PrintedScores(findings)) == ""


def test_no_date_stands_in_the_page_whatever_a_sentence_quotes() -> None:
    quoted = Remark("SUV_GE_DATE_IMPLAUSIBLE", "GE scan date-time (0009,100D) is '19591224095947.00'.")
    prior = PriorFinding("2025-01-31", 0.49, None, "ledger", False, "egfr 1.0.0", "ab" * 32, 0.5)
    for html in (
        report_html(scored_findings(warnings=(quoted,), priors=(prior,))),
        report_html(refused(quoted).findings),
    ):
        assert "is &#x27;[date]&#x27;." in html
        assert not re.search("19591224|2025-01-31", html)
