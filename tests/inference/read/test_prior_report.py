"""Reports that the product wrote are read back as what they said."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from pydicom import Dataset

from egfr_dls.findings import PatientFinding, PriorFinding
from inference.read.patient import patient_of
from inference.read.prior_report import PriorReport, ReportUnreadableError, read_prior_report
from reporting.build import to_bytes
from reporting.context import Revision
from tests.builders import STUDY_UID, to_part10
from tests.reporting.report_cases import Case, demonstration, refused, scored


def read(case: Case, change: Callable[[Dataset], None] = lambda ds: None) -> PriorReport | None:
    made = deepcopy(case.build()["report"].dataset)
    change(made)
    return read_prior_report(to_part10(made), "pet_ct_egfr", "pacs")


def finding(case: Case) -> PriorFinding | None:
    found = read(case)
    assert found is not None
    return found.result.finding


def assert_unreadable(change: Callable[[Dataset], None]) -> None:
    with pytest.raises(ReportUnreadableError):
        read(scored(), change)


def test_a_report_is_read_back_as_it_was_written() -> None:
    case = replace(scored(), revision=Revision(3))
    assert case.findings.model is not None
    model = replace(case.findings.model, preprocessing_sha256="ef" * 32)
    found = read_prior_report(to_bytes(case.but(model=model).build()["report"]), "pet_ct_egfr", "pacs")
    patient, reference = case.findings.patient, case.sources.reference
    assert found is not None
    date = str(reference.StudyDate)
    result = found.result
    assert found.patient == patient_of(reference)
    assert (result.study_instance_uid, result.source, result.revision) == (STUDY_UID, "pacs", 3)
    assert (result.when, result.demonstration) == ((date, str(reference.StudyTime)), False)
    assert result.finding == PriorFinding(
        f"{date[:4]}-{date[4:6]}-{date[6:]}", patient.egfr_dls or 0.0, patient.pdl1_dls, "pacs", False,
        f"{model.name} {model.version}", model.sha256, model.cut_off, model.preprocessing_sha256,
    )  # fmt: skip


def test_a_report_that_does_not_name_its_preprocessing_is_read_all_the_same() -> None:
    found = finding(scored())
    assert found is not None
    assert found.preprocessing_sha256 == ""


def test_a_demonstration_is_read_back_as_one() -> None:
    found = read(demonstration(scored()))
    assert found is not None
    assert found.result.finding is not None
    assert (found.result.demonstration, found.result.finding.demonstration) == (True, True)


def test_a_score_without_companion_has_no_pd_l1() -> None:
    case = scored()
    found = finding(case.but(patient=PatientFinding(egfr_dls=0.25, n_slices=3)))
    assert found is not None
    assert (found.egfr_dls, found.pdl1_dls) == (0.25, None)


def test_a_refusal_is_a_result_without_a_score() -> None:
    found = read(refused())
    assert found is not None
    assert (found.result.study_instance_uid, found.result.finding, found.result.why_left_out) == (STUDY_UID, None, "")


def test_a_report_of_another_biomarker_or_of_others_is_none_of_ours() -> None:
    def other_series(ds: Dataset) -> None:
        ds.SeriesInstanceUID = "1.2.3"

    assert read(scored(), other_series) is None
    assert read_prior_report(to_bytes(scored().build()["report"]), "another_biomarker", "pacs") is None


@pytest.mark.parametrize(
    "attributes",
    [{"StudyDate": ""}, {"StudyDate": "2025"}, {"StudyDate": "2025010112"}, {"StudyDate": "2025.01.01"},
     {"ContentSequence": []}],
    ids=str,
)  # fmt: skip
def test_a_report_without_date_or_content_cannot_be_read(attributes: dict[str, Any]) -> None:
    def change(ds: Dataset) -> None:
        for keyword, value in attributes.items():
            delattr(ds, keyword)
            ds.add_new(keyword, "SQ" if keyword == "ContentSequence" else "LO", value)

    assert_unreadable(change)


def test_what_is_damaged_cannot_be_read() -> None:
    whole = to_bytes(scored().build()["report"])
    for part10 in (b"", whole[: len(whole) // 2], b"not DICOM at all"):
        with pytest.raises(ReportUnreadableError):
            read_prior_report(part10, "pet_ct_egfr", "pacs")


@pytest.mark.parametrize("score", ["1.5", "-0.1"])
def test_a_score_out_of_range_cannot_be_read(score: str) -> None:
    def change(ds: Dataset) -> None:
        for element in ds.iterall():
            if element.keyword == "NumericValue":
                element.value = score

    assert_unreadable(change)


@pytest.mark.parametrize("cut_off", ["nan", "inf", "-inf", "1.5", "-0.1", ""])
def test_a_cut_off_that_is_none_cannot_be_read(cut_off: str) -> None:
    def change(ds: Dataset) -> None:
        for element in ds.iterall():
            if element.keyword == "TextValue" and str(element.value).startswith("cutoff="):
                element.value = f"cutoff={cut_off}"

    assert_unreadable(change)
