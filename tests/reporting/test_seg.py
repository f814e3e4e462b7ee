"""The region of interest as SEG: the pixels that were scored, where they lie and how they came about."""

from __future__ import annotations

import io

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from reporting.build import ReportObject, to_bytes
from tests.builders import CT_SERIES_UID
from tests.reporting.report_cases import (
    MASK_SLICES,
    Case,
    lesion_evidence,
    refused,
    rtstruct_case,
    scored,
    stored_seg,
    two_lesions,
)


def seg(case: Case) -> ReportObject:
    return case.build()["roi"]


def test_the_mask_reads_back_on_its_ct_slices() -> None:
    read = hd.seg.segread(io.BytesIO(to_bytes(seg(scored()))))
    uids = [f"{CT_SERIES_UID}.{z + 1}" for z in MASK_SLICES]
    pixels = read.get_pixels_by_source_instance(uids, segment_numbers=[1])
    assert np.array_equal(pixels[..., 0].astype(bool), lesion_evidence().mask)


def test_overlapping_lesions_are_segments_of_one_object() -> None:
    ds = seg(two_lesions()).dataset
    assert [s.SegmentLabel for s in ds.SegmentSequence] == ["Lesion 1", "Lesion 2"]
    assert ds.SegmentsOverlap in {"YES", "UNDEFINED"}


def test_a_proposal_is_automatic_with_its_algorithm_and_rule() -> None:
    (segment,) = seg(scored()).dataset.SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmParameters == "SUV at or above 41 % of the maximum"
    assert segment.TrackingUID == scored().findings.lesions[0].tracking_uid


@pytest.mark.parametrize(
    ("roi_generation", "expected"),
    [("MANUAL", "MANUAL"), ("AUTOMATIC", "AUTOMATIC"), ("SEMIAUTOMATIC", "SEMIAUTOMATIC"), ("", "SEMIAUTOMATIC")],
)
def test_a_converted_structure_set_keeps_how_it_was_drawn(roi_generation: str, expected: str) -> None:
    (segment,) = seg(rtstruct_case(roi_generation)).dataset.SegmentSequence
    assert segment.SegmentAlgorithmType == expected
    assert ("SegmentationAlgorithmIdentificationSequence" in segment) == (expected != "MANUAL")


def test_nothing_is_copied_where_the_region_is_a_stored_segment_or_nothing_was_scored() -> None:
    assert "roi" not in stored_seg().build()
    assert "roi" not in refused().build()


def test_a_ct_without_slice_thickness_gets_the_distance_of_its_slices() -> None:
    case = scored()
    for ds in case.sources.images.values():
        del ds.SliceThickness
    read = dcmread(io.BytesIO(to_bytes(seg(case))))
    measures = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == pytest.approx(4.0)
