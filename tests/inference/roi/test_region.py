"""find_rois: stored regions first, then proposals; every refusal and warning of that decision."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.settings_sections import PetCtEgfr
from egfr_dls.study import Confirmation, RoiSource
from egfr_dls.uids import derived_uid
from egfr_dls.volume import Unit, Volume
from inference.imaging.resample import mask_onto
from inference.roi.region import RoiResult, find_rois
from tests.builders import STUDY_UID, SUV_FACTOR, ct_slices, pet_slices, rtstruct, secondary_capture
from tests.inference.roi.volumes import folder_volume, segmentation, volume_of
from training_export.phantoms import Phantom, make_phantom

PRIMARY = Code("86049000", "SCT", "Neoplasm, Primary")
NO_WEIGHT = StudyRefusedError(RefusalCode.SUV_NO_WEIGHT, "PatientWeight (0010,1030) is missing")


@pytest.fixture(scope="module")
def ct_images() -> list[Dataset]:
    return ct_slices()


@pytest.fixture(scope="module")
def ct(ct_images: list[Dataset]) -> Volume:
    return volume_of(ct_images, Unit.HOUNSFIELD)


@pytest.fixture(scope="module")
def pet_images() -> list[Dataset]:
    return pet_slices()


@pytest.fixture(scope="module")
def pet(pet_images: list[Dataset]) -> Volume:
    return volume_of(pet_images, Unit.SUVBW, SUV_FACTOR)


def box(volume: Volume, rows: slice, columns: slice = slice(4, 8)) -> NDArray[np.uint8]:
    mask = np.zeros(volume.geometry.shape, dtype=np.uint8)
    mask[2:5, rows, columns] = 1
    return mask


def codes_of(result: RoiResult) -> list[str]:
    return [warning.code for warning in result.warnings]


def test_a_stored_lesion_on_the_pet(pet_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    drawn = box(pet, slice(3, 7))
    seg = segmentation(pet_images, drawn, ("hot",), type_code=PRIMARY)
    result = find_rois(pet, ct, [seg], PetCtEgfr(), STUDY_UID)
    (roi,) = result.rois
    assert result.warnings == ()
    assert (roi.label, roi.source, roi.confirmed) == ("Lesion 1", RoiSource.STORED_SEG, True)
    assert (roi.sop_instance_uid, roi.sop_class_uid, roi.number) == (seg.SOPInstanceUID, seg.SOPClassUID, 1)
    assert roi.tracking_uid == f"{STUDY_UID}.77.1", "the segment's own"
    assert roi.mask.shape == ct.geometry.shape
    assert roi.volume_ml == pytest.approx(drawn.sum() * pet.geometry.voxel_ml)
    assert roi.mask.sum() * ct.geometry.voxel_ml == pytest.approx(roi.volume_ml, rel=0.2)
    assert roi.statistics is not None
    assert roi.statistics.voxels == drawn.sum(), "measured on the native grid"
    assert roi.statistics.suv_max == pet.voxels[drawn.astype(np.bool_)].max()
    assert "'hot'" in roi.description
    assert "Neoplasm, Primary" in roi.description


def test_the_lesion_of_highest_tlg_is_the_first_and_keeps_its_tracking_uid(
    ct_images: list[Dataset], pet: Volume, ct: Volume
) -> None:
    """The larger is the colder; without SUV it is the first. A Tracking UID does not depend on either."""
    small, large = np.zeros((2, *ct.geometry.shape), dtype=np.uint8)
    small[2:5, 20:24, 14:18] = 1
    large[:, :6, :] = 1
    hot = mask_onto(small.astype(np.bool_), ct.geometry, pet.geometry)
    pet = replace(pet, voxels=np.where(hot, 100.0, 1.0).astype(np.float32))
    seg = segmentation(ct_images, np.stack([large, small], axis=3), ("tumour a", "tumour b"), tracked=False)
    with_suv = find_rois(pet, ct, [seg], PetCtEgfr(), STUDY_UID).rois
    relative = replace(pet, unit=Unit.RELATIVE)
    without = find_rois(relative, ct, [seg], PetCtEgfr(), STUDY_UID, NO_WEIGHT).rois
    assert [(roi.label, roi.number) for roi in with_suv] == [("Lesion 1", 2), ("Lesion 2", 1)]
    assert [(roi.label, roi.number) for roi in without] == [("Lesion 1", 1), ("Lesion 2", 2)]
    for roi in (*with_suv, *without):
        assert roi.tracking_uid == derived_uid(STUDY_UID, str(seg.SOPInstanceUID), roi.number)
    assert all(roi.statistics is None for roi in without)


def test_regions_that_share_a_tracking_uid_in_one_object_get_one_each(
    ct_images: list[Dataset], pet: Volume, ct: Volume
) -> None:
    parts = np.zeros((2, *ct.geometry.shape), dtype=np.uint8)
    parts[0, 2:5, 20:24, 14:18] = parts[1, 2:5, 4:8, 4:8] = 1
    seg = segmentation(ct_images, np.moveaxis(parts, 0, 3), ("tumour a", "tumour b"))
    for segment in seg.SegmentSequence:
        segment.TrackingUID = "1.2.3"
    rois = find_rois(pet, ct, [seg], PetCtEgfr(), STUDY_UID).rois
    assert len({roi.tracking_uid for roi in rois} - {"1.2.3"}) == 2


def test_two_stored_regions_of_one_lesion_give_one(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    seg = segmentation(ct_images, box(ct, slice(10, 20), slice(10, 20)))
    contour = [-20.0, -20.0, 8.0, 20.0, -20.0, 8.0, 20.0, 20.0, 8.0, -20.0, 20.0, 8.0]
    structures = rtstruct(ct_images, {"GTV": [contour]}, StructureSetDate="29990101")
    seg.ContentDate = "20200101"
    (roi,) = find_rois(pet, ct, [seg, structures], PetCtEgfr(), STUDY_UID).rois
    assert roi.source is RoiSource.STORED_RTSTRUCT
    assert roi.instead_of == (f"segment 1 'tumour' of SEG {seg.SOPInstanceUID}",)
    alone = find_rois(pet, ct, [structures], PetCtEgfr(), STUDY_UID).rois[0]
    assert alone.description == roi.description, "an older region that comes later changes no input"
    assert (roi.drawn_by, roi.drawn_at) == ("TEST BUILDER", "2999-01-01T11:00:00")


def test_a_persons_region_beats_a_newer_one_of_software(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    """What software alone made is scored where nobody drew, and is not confirmed."""
    drawn = segmentation(ct_images, box(ct, slice(10, 20)), tracked=False)
    found = segmentation(ct_images, box(ct, slice(10, 18)), number=2, tracked=False)
    found.SegmentSequence[0].SegmentAlgorithmType = "AUTOMATIC"
    drawn.ContentDate, found.ContentDate = "20240101", "20240301"
    (roi,) = find_rois(pet, ct, [found, drawn], PetCtEgfr(), STUDY_UID).rois
    assert (roi.sop_instance_uid, roi.confirmed) == (drawn.SOPInstanceUID, True)
    (roi,) = find_rois(pet, ct, [found], PetCtEgfr(), STUDY_UID).rois
    assert (roi.source, roi.confirmed) == (RoiSource.STORED_SEG, False)


def test_regions_of_one_number_are_not_told_apart(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    """The others of the object are scored; alone they are refused."""
    contour = [-20.0, -20.0, 8.0, 20.0, -20.0, 8.0, 20.0, 20.0, 8.0, -20.0, 20.0, 8.0]
    ds = rtstruct(ct_images, {"GTV a": [contour], "heart": [contour], "GTV b": [contour]})
    ds.StructureSetROISequence[1].ROINumber = 1
    result = find_rois(pet, ct, [ds], PetCtEgfr(), STUDY_UID)
    assert [roi.number for roi in result.rois] == [3]
    assert codes_of(result) == ["ROI_UNREADABLE"]
    assert "number 1 (SegmentNumber (0062,0004), ROINumber (3006,0022))" in result.warnings[0].message
    assert "'GTV a', 'heart'" in result.warnings[0].message
    ds.StructureSetROISequence[2].ROINumber = 1
    with pytest.raises(StudyRefusedError, match="a number of its own") as refused:
        find_rois(pet, ct, [ds], PetCtEgfr(propose_roi=False), STUDY_UID)
    assert refused.value.code is RefusalCode.GEOMETRY_MISMATCH


def test_a_tumour_without_a_closed_contour_says_so(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    """A marker that is no tumour is passed over in silence."""
    contour = [-20.0, -20.0, 8.0, 20.0, -20.0, 8.0, 20.0, 20.0, 8.0, -20.0, 20.0, 8.0]
    ds = rtstruct(ct_images, {"GTV": [contour], "isocentre": [contour]})
    for item, observation in zip(ds.ROIContourSequence, ds.RTROIObservationsSequence, strict=True):
        item.ContourSequence[0].ContourGeometricType = "POINT"
        observation.RTROIInterpretedType = ""
    seg = segmentation(ct_images, box(ct, slice(10, 20)))
    result = find_rois(pet, ct, [ds, seg], PetCtEgfr(), STUDY_UID)
    assert codes_of(result) == ["ROI_EMPTY"]
    assert "'GTV'" in result.warnings[0].message
    assert "ContourGeometricType (3006,0042) is POINT" in result.warnings[0].message
    with pytest.raises(StudyRefusedError, match="has no closed contour") as refused:
        find_rois(pet, ct, [ds], PetCtEgfr(propose_roi=False), STUDY_UID)
    assert refused.value.code is RefusalCode.NO_ROI


def test_a_region_that_cannot_be_placed_costs_no_other(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    """Of one RTSTRUCT: one in slices, one tilted, one of another frame of reference."""
    contour = [-20.0, -20.0, 8.0, 20.0, -20.0, 8.0, 20.0, 20.0, 8.0, -20.0, 20.0, 8.0]
    tilted = [-20.0, -20.0, 8.0, 20.0, -20.0, 8.0, 20.0, 20.0, 28.0, -20.0, 20.0, 28.0]
    ds = rtstruct(ct_images, {"GTV a": [contour], "GTV b": [tilted], "GTV c": [contour]})
    elsewhere = deepcopy(ds.ReferencedFrameOfReferenceSequence[0])
    elsewhere.FrameOfReferenceUID = ds.StructureSetROISequence[2].ReferencedFrameOfReferenceUID = "1.2.4"
    elsewhere.RTReferencedStudySequence = []
    ds.ReferencedFrameOfReferenceSequence.append(elsewhere)
    result = find_rois(pet, ct, [ds], PetCtEgfr(), STUDY_UID)
    assert [roi.number for roi in result.rois] == [1]
    assert codes_of(result) == ["ROI_UNREADABLE", "ROI_REFERENCE_MISSING"]


def test_a_tumour_without_a_frame_says_so(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    pixels = np.stack([box(ct, slice(10, 20)), np.zeros(ct.geometry.shape, dtype=np.uint8)], axis=3)
    result = find_rois(pet, ct, [segmentation(ct_images, pixels, ("tumour", "lesion 2"))], PetCtEgfr(), STUDY_UID)
    assert len(result.rois) == 1
    assert codes_of(result) == ["ROI_EMPTY"]
    assert "segment 2 'lesion 2'" in result.warnings[0].message
    assert "has no pixel in any of the 3 frames" in result.warnings[0].message


def test_tumours_of_other_images_do_not_hide_those_of_these(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    """Also where the site's pattern matches the former alone."""
    lost = segmentation(ct_images, box(ct, slice(10, 20)), ("site",), number=2)
    lost.ReferencedSeriesSequence[0].SeriesInstanceUID = lost.FrameOfReferenceUID = "1.2.3"
    good = segmentation(ct_images, box(ct, slice(10, 20)))
    result = find_rois(pet, ct, [lost, good], PetCtEgfr(roi_label_pattern="^site$"), STUDY_UID)
    assert [roi.sop_instance_uid for roi in result.rois] == [good.SOPInstanceUID]
    assert codes_of(result) == ["ROI_REFERENCE_MISSING"]


def test_stored_regions_serve_without_suv_if_the_site_allows(ct_images: list[Dataset], pet: Volume, ct: Volume) -> None:
    seg = segmentation(ct_images, box(ct, slice(10, 20)))
    assert codes_of(find_rois(pet, ct, [seg], PetCtEgfr(), STUDY_UID, NO_WEIGHT)) == ["SUV_OMITTED"]
    with pytest.raises(StudyRefusedError) as refused:
        find_rois(pet, ct, [seg], PetCtEgfr(suv_failure_policy="refuse"), STUDY_UID, NO_WEIGHT)
    assert refused.value is NO_WEIGHT
    not_scale = StudyRefusedError(RefusalCode.NOT_FDG, "")
    with pytest.raises(StudyRefusedError) as refused:
        find_rois(pet, ct, [seg], PetCtEgfr(), STUDY_UID, not_scale)
    assert refused.value is not_scale


def test_without_suv_nothing_is_proposed(pet: Volume, ct: Volume) -> None:
    with pytest.raises(StudyRefusedError) as refused:
        find_rois(pet, ct, [], PetCtEgfr(), STUDY_UID, NO_WEIGHT)
    assert refused.value is NO_WEIGHT


def test_an_object_of_other_images_is_said_where_another_serves(
    ct_images: list[Dataset], pet: Volume, ct: Volume
) -> None:
    lost = segmentation(ct_images, box(ct, slice(10, 20)), number=2)
    lost.ReferencedSeriesSequence[0].SeriesInstanceUID = lost.FrameOfReferenceUID = "1.2.3"
    broken = segmentation(ct_images, box(ct, slice(10, 20)), number=3)
    broken.PixelData = b""
    outside = segmentation(ct_images, box(ct, slice(10, 20)), number=4)
    for groups in outside.PerFrameFunctionalGroupsSequence:
        groups.PlanePositionSequence[0].ImagePositionPatient[2] += 400.0
    good = segmentation(ct_images, box(ct, slice(10, 20)))
    result = find_rois(pet, ct, [lost, broken, outside, good, secondary_capture()], PetCtEgfr(), STUDY_UID)
    assert [roi.sop_instance_uid for roi in result.rois] == [good.SOPInstanceUID]
    assert codes_of(result) == ["ROI_REFERENCE_MISSING", "ROI_UNREADABLE", "ROI_EMPTY"]
    assert "no voxel inside the CT" in result.warnings[-1].message
    with pytest.raises(StudyRefusedError, match="propose_roi is false") as refused:
        find_rois(pet, ct, [lost], PetCtEgfr(propose_roi=False), STUDY_UID)
    assert refused.value.code is RefusalCode.ROI_REFERENCE_MISSING


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(9101)


def _unmarked(phantom: Phantom, ct_images: list[Dataset]) -> Dataset:
    seg = segmentation(ct_images, np.ones((8, 32, 32), dtype=np.uint8), ("Segment_1",))
    seg.FrameOfReferenceUID = phantom.ct_hu.frame_of_reference_uid
    return seg


def test_proposals_where_nothing_is_stored(phantom: Phantom) -> None:
    result = find_rois(phantom.pet_suv, phantom.ct_hu, [], PetCtEgfr(), phantom.study_instance_uid)
    assert codes_of(result) == ["ROI_PROPOSED"]
    assert [roi.label for roi in result.rois] == [f"Lesion {i}" for i in range(1, len(result.rois) + 1)]
    for roi in result.rois:
        assert (roi.source, roi.confirmed) == (RoiSource.PROPOSED, False)
        assert roi.stored is None
        assert roi.statistics is not None
        assert any((roi.mask & lesion.mask).any() for lesion in phantom.lesions)
    assert len({roi.tracking_uid for roi in result.rois}) == len(result.rois)
    again = find_rois(phantom.pet_suv, phantom.ct_hu, [], PetCtEgfr(), phantom.study_instance_uid)
    assert [roi.tracking_uid for roi in again.rois] == [roi.tracking_uid for roi in result.rois]


def test_unmarked_regions_are_named_and_not_used(phantom: Phantom, ct_images: list[Dataset]) -> None:
    seg = _unmarked(phantom, ct_images)
    result = find_rois(phantom.pet_suv, phantom.ct_hu, [seg], PetCtEgfr(), phantom.study_instance_uid)
    assert codes_of(result) == ["ROI_PROPOSED", "ROI_AMBIGUOUS"]
    assert "'Segment_1'" in result.warnings[1].message
    assert "[biomarkers.pet_ct_egfr] roi_label_pattern" in result.warnings[1].message
    assert all(roi.source is RoiSource.PROPOSED for roi in result.rois)
    with pytest.raises(StudyRefusedError, match="'Segment_1'") as refused:
        find_rois(phantom.pet_suv, phantom.ct_hu, [seg], PetCtEgfr(ambiguous_roi="refuse"), STUDY_UID)
    assert refused.value.code is RefusalCode.ROI_AMBIGUOUS


def test_a_site_that_wants_no_proposals(phantom: Phantom, ct_images: list[Dataset]) -> None:
    with pytest.raises(StudyRefusedError, match="propose_roi is false") as refused:
        find_rois(phantom.pet_suv, phantom.ct_hu, [], PetCtEgfr(propose_roi=False), STUDY_UID)
    assert refused.value.code is RefusalCode.NO_ROI
    with pytest.raises(StudyRefusedError, match="roi_label_pattern"):
        find_rois(
            phantom.pet_suv, phantom.ct_hu, [_unmarked(phantom, ct_images)], PetCtEgfr(propose_roi=False), STUDY_UID
        )


@pytest.mark.shared_data
def test_the_real_study_with_the_rule_of_the_site(shared_data: Path) -> None:
    """Five segments, all "Tissue": the site's rule names one, whose figures the reference data states."""
    folder = shared_data / "petct_lung_acrin042"
    pet = folder_volume(folder / "PT_PET_AC_081015", Unit.SUVBW, 0.00042111007)
    ct = folder_volume(folder / "CT_CT_IMAGES_858561", Unit.HOUNSFIELD)
    stored = [dcmread(path) for path in sorted(folder.glob("SEG_*/*.dcm"))]
    settings = PetCtEgfr(roi_label_pattern="^pt_segment_1$")
    (roi,) = find_rois(pet, ct, stored, settings, STUDY_UID).rois
    assert roi.statistics is not None
    assert roi.statistics.voxels == 2548
    assert roi.statistics.suv_max == pytest.approx(42.22, abs=0.005)
    assert roi.statistics.suv_mean == pytest.approx(5.22, abs=0.005)
    assert np.count_nonzero(roi.mask.any(axis=(1, 2))) == 26
    everything = find_rois(pet, ct, stored, PetCtEgfr(roi_label_pattern="segment"), STUDY_UID)
    voxels = {roi.statistics.voxels: roi.statistics.suv_max for roi in everything.rois if roi.statistics}
    assert voxels[118_130] == pytest.approx(42.22, abs=0.005)
    with pytest.raises(StudyRefusedError) as refused:
        find_rois(pet, ct, stored, PetCtEgfr(ambiguous_roi="refuse"), STUDY_UID)
    assert refused.value.message.count("segment ") == 5


def test_a_proposal_that_a_person_accepted_is_confirmed_and_says_by_whom(phantom: Phantom) -> None:
    proposed = find_rois(phantom.pet_suv, phantom.ct_hu, [], PetCtEgfr(), phantom.study_instance_uid).rois
    first = Confirmation(proposed[0].tracking_uid, "Lesion 1", "Rita", "2025-01-02T12:00:00+00:00")
    gone = Confirmation("2.25.1", "Lesion 2", "Rita", "2025-01-02T12:00:00+00:00")  # of a mask that is another now

    def found(*accepted: Confirmation) -> RoiResult:
        return find_rois(
            phantom.pet_suv, phantom.ct_hu, [], PetCtEgfr(), phantom.study_instance_uid, confirmations=accepted
        )

    result = found(first, gone)
    assert [roi.confirmed for roi in result.rois] == [True, *[False] * (len(proposed) - 1)]
    assert result.rois[0].confirmation == first
    everything = found(*(replace(first, tracking_uid=roi.tracking_uid) for roi in proposed))
    assert all(roi.confirmed for roi in everything.rois)
    assert codes_of(everything) == [], "nothing waits for a reader"
    assert [roi.tracking_uid for roi in everything.rois] == [roi.tracking_uid for roi in proposed]
