"""Reports that the product wrote are read back as what they said."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
from pydicom import Dataset

from egfr_dls.findings import PriorFinding
from inference.read.prior_report import PriorReport, read_prior_report
from reporting.build import to_bytes
from tests.builders import STUDY_UID, to_part10
from tests.reporting.report_cases import Case, demonstration, refused, scored


def read(case: Case, change: Callable[[Dataset], None] = lambda ds: None) -> PriorReport | None:
    made = deepcopy(case.build()["report"].dataset)
    change(made)
    return read_prior_report(to_part10(made), "pet_ct_egfr", "pacs")


def test_a_report_is_read_back_as_it_was_written() -> None:
    case = scored()
    found = read_prior_report(to_bytes(case.build()["report"]), "pet_ct_egfr", "pacs")
    patient, reference, model = case.findings.patient, case.sources.reference, case.findings.model
    assert found is not None
    assert model is not None
    date = str(reference.StudyDate)
    assert (found.study_instance_uid, found.patient_id) == (STUDY_UID, str(reference.PatientID))
    assert (found.study_date, found.study_time) == (date, str(reference.StudyTime))
    assert found.finding == PriorFinding(
        f"{date[:4]}-{date[4:6]}-{date[6:]}", patient.egfr_dls or 0.0, patient.pdl1_dls, "pacs", False,
        f"{model.name} {model.version}", model.sha256, model.cut_off,
    )  # fmt: skip


def test_a_demonstration_is_read_back_as_one() -> None:
    found = read(demonstration(scored()))
    assert found is not None
    assert found.finding.demonstration


def test_a_score_without_companion_has_no_pd_l1() -> None:
    case = scored()
    found = read(case.but(patient=deepcopy(case.findings.patient).__class__(egfr_dls=0.25, n_slices=3)))
    assert found is not None
    assert (found.finding.egfr_dls, found.finding.pdl1_dls) == (0.25, None)


def test_a_refusal_has_no_score() -> None:
    assert read(refused()) is None


def test_what_is_not_ours_or_damaged_is_no_history() -> None:
    def other_series(ds: Dataset) -> None:
        ds.SeriesInstanceUID = "1.2.3"

    def no_date(ds: Dataset) -> None:
        ds.StudyDate = ""

    def no_content(ds: Dataset) -> None:
        del ds.ContentSequence

    for change in (other_series, no_date, no_content):
        assert read(scored(), change) is None
    whole = to_bytes(scored().build()["report"])
    assert read_prior_report(b"", "pet_ct_egfr", "pacs") is None
    assert read_prior_report(whole[: len(whole) // 2], "pet_ct_egfr", "pacs") is None
    assert read_prior_report(whole, "another_biomarker", "pacs") is None


@pytest.mark.parametrize("score", ["1.5", "-0.1"])
def test_a_score_out_of_range_is_no_score(score: str) -> None:
    def change(ds: Dataset) -> None:
        for element in ds.iterall():
            if element.keyword == "NumericValue":
                element.value = score

    assert read(scored(), change) is None


@pytest.mark.parametrize("cut_off", ["nan", "inf", "-inf", "1.5", "-0.1", ""])
def test_a_report_whose_cut_off_is_none_is_no_history(cut_off: str) -> None:
    def change(ds: Dataset) -> None:
        for element in ds.iterall():
            if element.keyword == "TextValue" and str(element.value).startswith("cutoff="):
                element.value = f"cutoff={cut_off}"

    assert read(scored(), change) is None
