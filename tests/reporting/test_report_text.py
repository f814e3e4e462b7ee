"""The report on a terminal, and the wording that all forms share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from egfr_dls.findings import PatientFinding, PriorFinding
from egfr_dls.refusals import Remark
from egfr_dls.study import Pathway, RoiSource
from inference.roi.proposal_rules import GRID_MM
from reporting import wording
from reporting.printed_scores import EgfrStatus, egfr_status
from reporting.report_text import COLUMNS, report_text
from tests.reporting.report_cases import (
    MODEL,
    VARIANTS,
    demonstration,
    lesion_finding,
    refused,
    scored,
    scored_findings,
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_text_names_egfr_dls_and_fits_the_terminal(variant: str) -> None:
    text = report_text(VARIANTS[variant]().findings)
    assert "EGFR-DLS" in text
    assert max(map(len, text.splitlines())) <= COLUMNS


def test_the_text_gives_score_pathway_and_warnings() -> None:
    text = report_text(scored_findings())
    for expected in (
        "EGFR-DLS  0.7098",
        "cut-off 0.5",
        "PATHWAY   Unverified ROI: Image scores favour the EGFR TKI pathway.",
        "HISTOLOGY_UNKNOWN",
    ):
        assert expected in text


def test_a_refusal_gives_its_reason() -> None:
    text = report_text(refused().findings)
    assert "NOT SCORED" in text
    assert "SUV_NO_WEIGHT: PatientWeight (0010,1030) is missing" in text


def test_a_demonstration_is_said_first() -> None:
    assert report_text(demonstration(scored()).findings).startswith("*** DEMONSTRATION, not a patient result ***")


def test_control_characters_never_reach_the_terminal() -> None:
    text = report_text(scored_findings(warnings=(Remark("X", "red\x1b[31m \x07bell\rback"),)))
    assert not set(text) & {"\x1b", "\x07", "\r"}


@pytest.mark.parametrize(
    ("score", "status"),
    [(0.5, EgfrStatus.MUTANT), (0.49999, EgfrStatus.WILD_TYPE), (1.0, EgfrStatus.MUTANT), (0.0, EgfrStatus.WILD_TYPE)],
)
def test_the_class_is_decided_on_the_unrounded_score(score: float, status: EgfrStatus) -> None:
    assert egfr_status(score, 0.5) is status


def test_the_wording_suggests_and_favours_and_never_claims() -> None:
    sentences = [*wording.STATUS_SENTENCES.values(), *wording.PATHWAY_SENTENCES.values()]
    assert not [s for s in sentences if "is EGFR" in s or "responds" in s or "should" in s]
    assert set(wording.PATHWAY_SENTENCES) == set(Pathway)
    assert set(wording.STATUS_SENTENCES) == set(EgfrStatus)
    assert set(wording.ROI_SENTENCES) == set(RoiSource)


@pytest.mark.parametrize(
    ("source", "confirmed", "expected"),
    [
        (RoiSource.PROPOSED, False, "NOT confirmed by a person"),
        (RoiSource.PROPOSED, True, ", confirmed by a person"),
        (RoiSource.STORED_SEG, True, "stored segmentation (SEG) ("),
        (RoiSource.STORED_SEG, False, "stored segmentation (SEG), NOT confirmed by a person"),
    ],
)
def test_the_origin_of_a_region_is_said(source: RoiSource, confirmed: bool, expected: str) -> None:
    assert expected in wording.roi_sentence(lesion_finding(source=source, confirmed=confirmed))


STORED = lesion_finding(
    source=RoiSource.STORED_SEG,
    roi_drawn_by="Reader Rita",
    roi_drawn_at="2024-05-01T10:11:12.500000",
    roi_instead_of=("segment 1 'a' of SEG 1.2.3", "ROI 2 'b' of RTSTRUCT 1.2.4"),
)


def test_the_report_says_who_drew_a_stored_region_when_and_which_older_ones_it_replaces() -> None:
    said = " ".join(report_text(scored_findings(lesions=(STORED,))).split())
    assert "Lesion 1: the stored region was made by Reader Rita on 2024-05-01 10:11:12." in said
    assert "preferred to segment 1 'a' of SEG 1.2.3, ROI 2 'b' of RTSTRUCT 1.2.4 of the same lesion" in said
    (sentence,) = wording.roi_authors(scored_findings(lesions=(replace(STORED, roi_drawn_by=""),)))
    assert sentence == "Lesion 1: the stored region was made on 2024-05-01 10:11:12."
    assert wording.roi_authors(scored_findings()) == ()


def test_a_region_of_software_elsewhere_is_unverified_too() -> None:
    findings = scored_findings(lesions=(replace(STORED, confirmed=False),))
    assert wording.pathway_headline(findings).startswith("Unverified ROI: ")
    assert wording.roi_in_short(findings.lesions[0]) == "stored SEG, NOT confirmed"


def test_the_report_says_who_confirmed_a_proposed_region_and_pages_do_not() -> None:
    """Pages and HTML are copied where no name and no date may go."""
    confirmed = lesion_finding(
        confirmed=True, roi_confirmed_by="Reader Rita", roi_confirmed_at="2025-06-01T10:11:12+00:00"
    )
    said = "Lesion 1: the proposed region was confirmed by Reader Rita on 2025-06-01 10:11:12 UTC."
    assert wording.roi_authors(scored_findings(lesions=(confirmed,))) == (said,)
    assert "Rita" not in " ".join(wording.limitations(scored_findings(lesions=(confirmed,))))


def test_an_unconfirmed_region_is_said_in_the_headline_and_the_reason_does_not_say_it_again() -> None:
    """The stored rationale bears the mark or not; a report marks by what it knows of the regions, once."""
    bare = scored_findings()
    marked = scored_findings(patient=replace(bare.patient, rationale=f"Unverified ROI: {bare.patient.rationale}"))
    for findings in (bare, marked):
        assert wording.pathway_headline(findings) == "Unverified ROI: Image scores favour the EGFR TKI pathway."
        assert wording.pathway_reason(findings) == bare.patient.rationale
        assert wording.pathway_rationale(findings) == marked.patient.rationale
        assert report_text(findings).count("Unverified ROI") == 1
        assert report_text(findings).count("favour") == 1


def test_a_confirmed_region_is_not_called_unverified() -> None:
    assert "Unverified" not in report_text(scored_findings(lesions=(lesion_finding(confirmed=True),)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("is '19591224095947.00', days from '19600116'", "is '[date]', days from '[date]'"),
        ("on 2024-05-01 10:11:12, 2024-05-01T10:11 and 2024-05-01.", "on [date], [date] and [date]."),
        ("1.2.20240501.3 and 2.25.20240501", "1.2.20240501.3 and 2.25.20240501"),  # UIDs
        ("sha256 20240501ab, ab20240501", "sha256 20240501ab, ab20240501"),
        ("20241301 20240532 120240501 202405010 2024", "20241301 20240532 120240501 202405010 2024"),  # no dates
        ("Mu et al. 2020, Nat Commun 11:5228", "Mu et al. 2020, Nat Commun 11:5228"),
    ],
)
def test_dates_are_left_out_and_nothing_else(text: str, expected: str) -> None:
    assert wording.undated(text) == expected


def test_no_reason_is_no_sentence() -> None:
    assert wording.pathway_rationale(scored_findings(patient=PatientFinding())) == ""


def test_a_proposal_names_the_grid_on_which_its_threshold_was_found() -> None:
    """SUVmax beside it is of the native grid, and differs."""
    assert f"on the {GRID_MM:g} mm search grid" in wording.roi_sentence(lesion_finding())


KNOWN = replace(MODEL, preprocessing_sha256="ef" * 32)
SAME = PriorFinding("2025-01-31", 0.49996, None, "ledger", False, "egfr-test 1.2.0", KNOWN.sha256, 0.5, "ef" * 32)


def test_earlier_scores_are_a_time_line_that_claims_nothing() -> None:
    other = replace(SAME, study_date="2025-06-01", egfr_dls=0.6, model="other 2.0.0", model_sha256="00" * 32)
    found = scored_findings(model=KNOWN, priors=(SAME, other))
    sentences = wording.prior_sentences(found)
    assert sentences == (
        "Earlier EGFR-DLS: 2025-01-31 0.4999 (egfr-test 1.2.0); "
        "2025-06-01 0.6000 (other 2.0.0; not comparable: other network, version, weights).",
        "A change of EGFR-DLS between two studies has no validated meaning.",
    )
    assert set(sentences) <= set(wording.limitations(found))
    assert wording.prior_sentences(scored_findings()) == ()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model": "egfr-best 1.2.0"}, "network"),
        ({"model": "egfr-test 1.2.1"}, "version"),
        ({"model_sha256": "00" * 32}, "weights"),
        ({"preprocessing_sha256": "00" * 32}, "preprocessing"),
        ({"preprocessing_sha256": ""}, "preprocessing"),
        ({"cut_off": 0.4}, "cut-off"),
    ],
)
def test_what_was_made_otherwise_is_never_shown_as_comparable(change: dict[str, Any], what: str) -> None:
    prior = replace(SAME, egfr_dls=0.3, **change)
    (line, _) = wording.prior_sentences(scored_findings(model=KNOWN, priors=(prior,)))
    assert line == f"Earlier EGFR-DLS: 2025-01-31 0.3000 ({prior.model}; not comparable: other {what})."
