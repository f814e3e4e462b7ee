"""The refusal report: a reason for every refusal code, an image, and no number."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom import Dataset

from egfr_dls import codes
from egfr_dls.refusals import RefusalCode, Remark
from reporting.source_header import SourceImages
from tests.builders import CT_SERIES_UID, PET_SERIES_UID
from tests.reporting.report_cases import coded, groups, items, lesion_finding, name_of, refused, texts


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_is_reported_by_code_and_sentence_and_without_a_number(code: RefusalCode) -> None:
    ds = refused(Remark(code.value, "what was found and what is needed")).build()["report"].dataset
    filed = codes.not_scored_code(code.value).value
    assert coded(ds, "NOT-SCORED-WHY") == [filed, filed]  # in the patient group and in the evaluations
    assert coded(ds, "SCORING") == ["NOT-SCORED", "NOT-SCORED"]
    assert coded(ds, "PATHWAY") == ["PATHWAY-NONE"]
    assert texts(ds, "NOT-SCORED-TEXT") == [f"{code.value}: what was found and what is needed"]
    assert ds.CompletionFlag == "PARTIAL"
    assert ds.CompletionFlagDescription == f"Not scored: {code.value}"
    assert not [item for item in items(ds) if item.ValueType == "NUM" and item.RelationshipType == "CONTAINS"]


def test_the_library_holds_the_middle_image_of_each_series() -> None:
    ds = refused().build()["report"].dataset
    assert _library(ds) == [f"{CT_SERIES_UID}.5", f"{PET_SERIES_UID}.5"]


def test_without_any_image_the_reference_instance_stands_in_the_library() -> None:
    case = refused()
    alone = replace(case, sources=SourceImages({}, case.sources.reference))
    assert _library(alone.build()["report"].dataset) == [f"{PET_SERIES_UID}.1"]


@pytest.mark.parametrize("keyword", ["SliceThickness", "ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID"])
def test_a_header_without_geometry_is_reported_all_the_same(keyword: str) -> None:
    ds = refused(Remark("GEOMETRY_MISMATCH", "x"), **{keyword: None}).build()["report"].dataset
    assert len(groups(ds)) == 1


def test_the_reasons_of_lesions_follow_the_decisive_one_each_once() -> None:
    small = Remark("ROI_TOO_SMALL", "0.2 ml")
    case = refused().but(lesions=(lesion_finding(reason=small), lesion_finding("Lesion 2", reason=small)))
    ds = case.build()["report"].dataset
    assert coded(ds, "NOT-SCORED-WHY")[:2] == ["NS-PET-WEIGHT", "NS-ROI-SMALL"]
    assert len(texts(ds, "NOT-SCORED-TEXT")) == 2


def test_a_refusal_before_any_network_was_chosen_is_reported_by_the_product() -> None:
    ds = refused().but(model=None).build()["report"].dataset
    assert "egfr-dls" in texts(ds, "111001")
    assert ds.DeviceSerialNumber == "none"


def _library(ds: Dataset) -> list[str]:
    (library,) = (item for item in ds.ContentSequence if name_of(item) == "111028")
    return [
        str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for group in library.ContentSequence
        for image in group.ContentSequence
    ]
