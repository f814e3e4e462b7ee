"""RT Structure Sets as masks: the pixel-centre rule, holes, planes, and what is refused."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.study import RoiSource
from egfr_dls.volume import Unit, Volume
from inference.roi.lesion_statistics import lesion_statistics
from inference.roi.rtstruct import structure_facts, structure_masks
from tests.builders import CT_SERIES_UID, ct_slices, pet_slices, rtstruct
from tests.inference.roi.volumes import folder_volume, set_raw, volume_of


@pytest.fixture(scope="module")
def ct() -> list[Dataset]:
    """Axial, 32 x 32 voxels of 4 mm from (-62, -62), 8 slices of 4 mm from z = 0."""
    return ct_slices()


@pytest.fixture(scope="module")
def grid(ct: list[Dataset]) -> Volume:
    return volume_of(ct, Unit.HOUNSFIELD)


def square(low_mm: float, high_mm: float, z_mm: float) -> list[float]:
    corners = ((low_mm, low_mm), (high_mm, low_mm), (high_mm, high_mm), (low_mm, high_mm))
    return [v for x, y in corners for v in (x, y, z_mm)]


def voxels_of(ct: list[Dataset], grid: Volume, contours: list[list[float]]) -> set[tuple[int, int, int]]:
    (roi,) = structure_masks(rtstruct(ct, {"GTV": contours}), grid)
    return {(int(z), int(y), int(x)) for z, y, x in np.argwhere(roi.mask)}


def test_a_voxel_belongs_to_the_contour_that_holds_its_centre(ct: list[Dataset], grid: Volume) -> None:
    """Centres at -62 + 4 i: between -3 and 7 mm lie those at -2, 2 and 6 (15, 16, 17)."""
    expected = {(2, y, x) for y in (15, 16, 17) for x in (15, 16, 17)}
    assert voxels_of(ct, grid, [square(-3.0, 7.0, 8.0)]) == expected


def test_a_centre_on_an_edge_belongs_to_one_side_only(ct: list[Dataset], grid: Volume) -> None:
    """Two squares that share an edge through voxel centres: no voxel twice, none lost."""
    left = voxels_of(ct, grid, [[-22.0, -22.0, 8.0, -2.0, -22.0, 8.0, -2.0, -2.0, 8.0, -22.0, -2.0, 8.0]])
    right = voxels_of(ct, grid, [[-2.0, -22.0, 8.0, 18.0, -22.0, 8.0, 18.0, -2.0, 8.0, -2.0, -2.0, 8.0]])
    assert len(left) == len(right) == 25
    assert not left & right


def test_a_second_contour_cuts_a_hole(ct: list[Dataset], grid: Volume) -> None:
    ring = voxels_of(ct, grid, [square(-11.0, 11.0, 8.0), square(-3.0, 3.0, 8.0)])
    assert len(ring) == 36 - 4
    assert (2, 15, 15) not in ring


def test_several_contours_of_a_slice_are_islands(ct: list[Dataset], grid: Volume) -> None:
    """One of them a ring: what lies apart is added, what lies inside is cut."""
    left, right = square(-27.0, -13.0, 8.0), square(5.0, 27.0, 8.0)
    hole = square(13.0, 19.0, 8.0)
    apart = voxels_of(ct, grid, [left]) | voxels_of(ct, grid, [right]) - voxels_of(ct, grid, [hole])
    assert voxels_of(ct, grid, [left, right, hole]) == apart
    assert len(apart) == 16 + 36 - 4
    assert voxels_of(ct, grid, [hole, right, left]) == apart, "whatever their order"


def test_a_keyhole_cuts_the_same_hole(ct: list[Dataset], grid: Volume) -> None:
    """One contour that goes in along a channel, round the hole the other way, and out again (PS3.3 C.8.8.6)."""
    outer = [(-11.0, 0.5), (-11.0, -11.0), (11.0, -11.0), (11.0, 11.0), (-11.0, 11.0), (-11.0, 0.5)]
    inner = [(-3.0, 0.5), (-3.0, 3.0), (3.0, 3.0), (3.0, -3.0), (-3.0, -3.0), (-3.0, 0.5)]
    keyhole = [v for x, y in [*outer, *inner] for v in (x, y, 8.0)]
    assert voxels_of(ct, grid, [keyhole]) == voxels_of(ct, grid, [square(-11.0, 11.0, 8.0), square(-3.0, 3.0, 8.0)])


@pytest.mark.parametrize("away_mm", [-1.9, -0.04, 0.04, 1.9])
def test_planes_are_matched_within_half_a_slice(ct: list[Dataset], grid: Volume, away_mm: float) -> None:
    contours = [square(-3.0, 7.0, z + away_mm) for z in (8.0, 12.0, 16.0)]
    assert {z for z, _, _ in voxels_of(ct, grid, contours)} == {2, 3, 4}


def test_planes_midway_between_slices_fill_one_slice_each(ct: list[Dataset], grid: Volume) -> None:
    contours = [square(-3.0, 7.0, z + 2.0) for z in (8.0, 12.0, 16.0)]
    assert len({z for z, _, _ in voxels_of(ct, grid, contours)}) == 3


def test_contours_of_thicker_slices_fill_the_slices_between(ct: list[Dataset]) -> None:
    """Drawn on another series every 8 mm, read on 4 mm slices: nearest neighbour, so each plane serves two slices."""
    pet = volume_of(pet_slices(), Unit.SUVBW)
    assert {z for z, _, _ in voxels_of(ct, pet, [square(-8.0, 9.0, z) for z in (6.0, 14.0, 22.0)])} == {
        1,
        2,
        3,
        4,
        5,
        6,
    }


def test_a_gap_between_contours_stays_a_gap(ct: list[Dataset], grid: Volume) -> None:
    contours = [square(-8.0, 9.0, 0.0), square(-8.0, 9.0, 24.0)]
    assert {z for z, _, _ in voxels_of(ct, grid, contours)} == {0, 6}
    pet = volume_of(pet_slices(), Unit.SUVBW)
    assert {z for z, _, _ in voxels_of(ct, pet, contours)} == {0, 1, 5, 6, 7}, "10 mm slices at most"


def test_contours_a_tenth_of_a_slice_apart_lie_in_one_plane(ct: list[Dataset], grid: Volume) -> None:
    """At 0.04 slices an inner contour cuts a hole; at 0.5 it is a plane of its own, and the slice takes the nearer one."""
    outer, inner = square(-11.0, 11.0, 8.0), square(-3.0, 3.0, 8.0)
    cut = voxels_of(ct, grid, [outer, inner])
    assert voxels_of(ct, grid, [outer, square(-3.0, 3.0, 8.16)]) == cut
    assert voxels_of(ct, grid, [square(-3.0, 3.0, 6.2), square(-11.0, 11.0, 8.2)]) == voxels_of(ct, grid, [outer])


def test_the_closest_planes_say_how_thick_a_slice_is(ct: list[Dataset]) -> None:
    """Planes 6, 6 and 9 mm apart on 4 mm slices reach 3 mm: one slice or two each, and a gap where the 9 mm are."""
    pet = volume_of(pet_slices(), Unit.SUVBW)
    contours = [square(-8.0, 9.0, z) for z in (2.0, 8.0, 16.9)]
    assert {z for z, _, _ in voxels_of(ct, pet, contours)} == {0, 1, 2, 4}


def test_contours_are_cut_at_the_image(ct: list[Dataset], grid: Volume) -> None:
    cut = voxels_of(ct, grid, [square(-300.0, -57.0, 8.0), square(-300.0, -57.0, 400.0)])
    assert cut == {(2, y, x) for y in (0, 1) for x in (0, 1)}


def test_the_pet_of_the_same_frame_of_reference_serves(ct: list[Dataset]) -> None:
    pet = volume_of(pet_slices(), Unit.SUVBW)
    (roi,) = structure_masks(rtstruct(ct, {"GTV": [square(-24.5, 23.5, z) for z in (8.0, 12.0)]}), pet)
    assert roi.source is RoiSource.STORED_RTSTRUCT
    assert roi.reference.series_uids == {CT_SERIES_UID}
    assert roi.mask.sum() * pet.geometry.voxel_ml == pytest.approx(48 * 48 * 8 / 1000)


def test_only_closed_contours_make_a_region(ct: list[Dataset], grid: Volume) -> None:
    ds = rtstruct(ct, {"point": [square(-3.0, 7.0, 8.0)], "none": [], "GTV": [square(-3.0, 7.0, 8.0)]})
    ds.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "POINT"
    point, none, gtv = structure_facts(ds)
    assert point.hollow == "has no closed contour (ContourGeometricType (3006,0042) is POINT)"
    assert none.hollow == "has no closed contour (it has none at all)"
    assert not gtv.hollow
    assert [roi.number for roi in structure_masks(ds, grid)] == [3]


def test_contours_of_two_points_enclose_nothing(ct: list[Dataset], grid: Volume) -> None:
    """A click at a lesion's end does not cost the whole region; alone it is none."""
    click = [0.0, 0.0, 12.0, 20.0, 0.0, 12.0]
    assert voxels_of(ct, grid, [square(-3.0, 7.0, 8.0), click]) == voxels_of(ct, grid, [square(-3.0, 7.0, 8.0)])
    (facts,) = structure_facts(rtstruct(ct, {"GTV": [click]}))
    assert facts.hollow == "has no closed contour (1 of fewer than three points in ContourData (3006,0050))"


@pytest.mark.parametrize("kind", ["CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"])
def test_exclusive_or_contours_cut_holes_and_islands(ct: list[Dataset], grid: Volume, kind: str) -> None:
    """PS3.3 C.8.8.6.1: of contours in one plane, what lies in an odd number of them; the second term is how some write it."""
    ds = rtstruct(ct, {"GTV": [square(half, -half, 8.0) for half in (-19.0, -11.0, -3.0)]})
    for contour in ds.ROIContourSequence[0].ContourSequence:
        set_raw(contour, "ContourGeometricType", kind, "CS")
    (roi,) = structure_masks(ds, grid)
    assert roi.mask.sum() == 100 - 36 + 4


def test_a_contour_that_is_there_twice_counts_once(ct: list[Dataset], grid: Volume) -> None:
    twice = [square(-3.0, 7.0, 8.0)] * 2
    assert voxels_of(ct, grid, twice) == voxels_of(ct, grid, twice[:1])


def test_contours_of_two_lists_belong_to_their_roi(ct: list[Dataset], grid: Volume) -> None:
    """Two items of ROIContourSequence (3006,0039) that refer to one ROI are its contours together."""
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)], "other": [square(-3.0, 7.0, 12.0)]})
    ds.ROIContourSequence[1].ReferencedROINumber = 1
    gtv = structure_masks(ds, grid)[0]
    assert set(np.flatnonzero(gtv.mask.any(axis=(1, 2)))) == {2, 3}


def test_a_coronal_grid_takes_coronal_contours_and_no_axial_ones(ct: list[Dataset], grid: Volume) -> None:
    coronal = replace(
        grid,
        geometry=replace(grid.geometry, direction=((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))),
    )
    in_its_plane = [-3.0, -54.0, 8.0, 7.0, -54.0, 8.0, 7.0, -54.0, -9.0, -3.0, -54.0, -9.0]
    (roi,) = structure_masks(rtstruct(ct, {"GTV": [in_its_plane]}), coronal)
    assert roi.mask.any(axis=(1, 2)).sum() == 1
    assert _refusal(rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]}), coronal).code is RefusalCode.GEOMETRY_MISMATCH


def test_whose_it_is_and_of_when(ct: list[Dataset]) -> None:
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]}, StructureSetDate="20240501", StructureSetTime="101112.5")
    (facts,) = structure_facts(ds)
    assert facts.origin.person == ""
    assert facts.origin.who == "TEST BUILDER"
    assert facts.content_datetime == datetime(2024, 5, 1, 10, 11, 12, 500_000)  # noqa: DTZ001  # as the header has it
    ds.OperatorsName = "Planner^P"
    assert structure_facts(ds)[0].origin.who == "Planner P"
    ds.RTROIObservationsSequence[0].ROIInterpreter = "Doe^Jane^^Dr=漢"
    assert structure_facts(ds)[0].origin.who == "Doe Jane Dr"
    ds.StructureSetROISequence[0].ROIGenerationAlgorithm = "AUTOMATIC"
    assert not structure_facts(ds)[0].origin.by_person
    ds.StructureSetROISequence[0].ROIGenerationAlgorithm = ""  # type 2: nobody says that a person drew it
    assert not structure_facts(ds)[0].origin.by_person
    ds.ApprovalStatus = "APPROVED"
    assert structure_facts(ds)[0].origin.by_person, "somebody looked at it"
    ds.StructureSetDate = ""
    ds.InstanceCreationDate, ds.InstanceCreationTime = "20240502", ""
    assert structure_facts(ds)[0].content_datetime == datetime(2024, 5, 2)  # noqa: DTZ001  # as the header has it


def _refusal(ds: Dataset, grid: Volume) -> StudyRefusedError:
    with pytest.raises(StudyRefusedError) as refused:
        structure_masks(ds, grid)
    assert str(ds.SOPInstanceUID) in refused.value.message
    return refused.value


def test_other_images_are_refused(ct: list[Dataset], grid: Volume) -> None:
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]})
    frame = ds.ReferencedFrameOfReferenceSequence[0]
    frame.FrameOfReferenceUID = "1.2.4"
    frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.4"
    ds.pop("FrameOfReferenceUID", None)
    assert _refusal(ds, grid).code is RefusalCode.ROI_REFERENCE_MISSING


def test_a_region_of_a_frame_that_the_object_does_not_list_is_of_that_frame_only(
    ct: list[Dataset], grid: Volume
) -> None:
    """Its positions are not those of the images that the object lists, whatever else it says of them."""
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]})
    ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.4"
    refusal = _refusal(ds, grid)
    assert refusal.code is RefusalCode.ROI_REFERENCE_MISSING
    assert "1.2.4" in refusal.message


def test_a_rejected_object_is_not_used(ct: list[Dataset], grid: Volume) -> None:
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]}, ApprovalStatus="REJECTED")
    (facts,) = structure_facts(ds)
    assert facts.hollow == "was rejected: ApprovalStatus (300E,0002) is REJECTED"
    assert structure_masks(ds, grid) == ()


def test_an_object_that_refers_to_nothing_is_refused(ct: list[Dataset], grid: Volume) -> None:
    """Also where the images have no frame of reference: two that are missing are not one."""
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]})
    del ds.ReferencedFrameOfReferenceSequence, ds.FrameOfReferenceUID
    del ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
    for images in (grid, replace(grid, frame_of_reference_uid="")):
        refusal = _refusal(ds, images)
        assert refusal.code is RefusalCode.ROI_REFERENCE_MISSING
        assert "SeriesInstanceUID (0020,000E) (none) and FrameOfReferenceUID (0020,0052) (none)" in refusal.message


def test_a_reference_to_the_series_serves_without_a_frame_of_reference(ct: list[Dataset], grid: Volume) -> None:
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]})
    del ds.FrameOfReferenceUID, ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID
    del ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
    (roi,) = structure_masks(ds, replace(grid, frame_of_reference_uid=""))
    assert roi.mask.sum() == 9


def test_contours_on_the_pet_are_read_on_its_own_slices() -> None:
    images = pet_slices()
    pet = volume_of(images, Unit.SUVBW)
    (roi,) = structure_masks(rtstruct(images, {"GTV": [square(-24.5, 23.5, z) for z in (8.0, 12.0)]}), pet)
    assert roi.reference.is_on(pet)
    assert set(np.flatnonzero(roi.mask.any(axis=(1, 2)))) == {2, 3}
    assert roi.mask.sum() == 2 * 6 * 6


def test_each_roi_lies_in_its_own_frame_of_reference(ct: list[Dataset], grid: Volume) -> None:
    """An RTSTRUCT over two frames of reference (3006,0024): what belongs to the other one is not placed here."""
    ds = rtstruct(ct, {"GTV mr": [square(-3.0, 7.0, 8.0)], "GTV": [square(-3.0, 7.0, 8.0)]})
    other = deepcopy(ds.ReferencedFrameOfReferenceSequence[0])
    other.FrameOfReferenceUID = ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.4"
    other.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    ds.ReferencedFrameOfReferenceSequence.append(other)
    assert [roi.number for roi in structure_masks(ds, grid)] == [2]
    with pytest.raises(StudyRefusedError, match=r"1\.2\.3 and FrameOfReferenceUID \(0020,0052\) 1\.2\.4") as refused:
        structure_masks(ds, grid, [1, 2])
    assert refused.value.code is RefusalCode.ROI_REFERENCE_MISSING


def test_contours_across_slices_are_refused(ct: list[Dataset], grid: Volume) -> None:
    tilted = [0.0, 0.0, 0.0, 20.0, 0.0, 8.0, 20.0, 20.0, 8.0, 0.0, 20.0, 0.0]
    refusal = _refusal(rtstruct(ct, {"GTV": [tilted]}), grid)
    assert refusal.code is RefusalCode.GEOMETRY_MISMATCH
    assert "leaves its slice by 4.0 mm" in refusal.message


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("0\\0\\8\\20\\0\\8\\20\\nan\\8", "a coordinate of nan mm"),
        ("0\\0\\8\\20\\0\\8\\20\\1e400\\8", "a coordinate of inf mm"),
        ("0\\0\\8\\20\\0\\8\\20\\1e300\\8", "a coordinate of 1e+300 mm"),
        ("0\\0\\8\\20\\0\\8\\20\\x\\8", "holds what is no number"),
        ("0\\0\\8\\20\\0\\8\\20\\20\\8\\5", "of 10 values, needed three for each point"),
        ("0\\" * 3_000_002 + "0", "of 3000003 values, needed three for each point, at most 3000000"),
    ],
    ids=["NaN", "too large for a double", "astronomic", "text", "a value too many", "a million points and one"],
)
def test_hostile_coordinates_are_refused_by_name(ct: list[Dataset], grid: Volume, data: str, found: str) -> None:
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]})
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    set_raw(contour, "ContourData", data, "DS")
    refusal = _refusal(ds, grid)
    assert refusal.code is RefusalCode.GEOMETRY_MISMATCH
    assert "ContourData (3006,0050)" in refusal.message
    assert found in refusal.message
    assert len(refusal.message) < 400


def test_a_label_of_60000_characters_is_cut(ct: list[Dataset]) -> None:
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]})
    set_raw(ds.StructureSetROISequence[0], "ROIName", "GTV" * 20_000)
    (facts,) = structure_facts(ds)
    assert len(facts.label) == 1024
    assert len(facts.name) < 200


def test_sequences_of_another_kind_are_passed_over(ct: list[Dataset]) -> None:
    """A PatientName that is a sequence, and a ContourSequence that is text."""
    ds = rtstruct(ct, {"GTV": [square(-3.0, 7.0, 8.0)]})
    ds[0x00100010] = DataElement(0x00100010, "SQ", [Dataset()])
    ds.ROIContourSequence[0][0x30060040] = DataElement(0x30060040, "LT", "no sequence")
    (facts,) = structure_facts(ds)
    assert facts.hollow


@pytest.mark.shared_data
def test_suv_reference_object_voxel_by_voxel(shared_data: Path) -> None:
    folder = shared_data / "suv_dro/DRO_2_0"  # stored as SUV: no formula in between
    grid = folder_volume(folder / "PT", Unit.SUVBW)
    (path,) = (folder / "RS").iterdir()
    (roi,) = structure_masks(dcmread(path), grid)
    assert roi.mask.sum() == 174_691
    assert np.count_nonzero(roi.mask.any(axis=(1, 2))) == 16
    found = lesion_statistics(grid, roi.mask)
    assert found is not None
    assert (found.suv_min, found.suv_median, found.suv_max) == pytest.approx((0.2, 1.0, 4.0), abs=1e-4)
    (nifti,) = (folder / "mask").glob("*.nii*")
    larger = np.asarray(nibabel.load(nifti).dataobj).T > 0
    assert larger.sum() == 203_202
    assert not (roi.mask & ~larger).any()


STS = [  # patient, modality, slices, volume ml, SUVmax, mean
    ("STS_002", "PET", 16, 54.3, 21.68, 7.37),
    ("STS_006", "PET", 47, 259.3, 26.65, 7.86),
    ("STS_012", "PET", 21, 78.9, 5.386, 2.90),
    ("STS_002", "CT", 16, 53.3, None, 59.0),
    ("STS_012", "CT", 21, 78.8, None, 41.6),
]


@pytest.mark.shared_data
@pytest.mark.parametrize(("patient", "modality", "slices", "volume_ml", "suv_max", "mean"), STS)
def test_sarcoma_contours(
    shared_data: Path, patient: str, modality: str, slices: int, volume_ml: float, suv_max: float | None, mean: float
) -> None:
    """Contour planes lie up to 0.04 mm from the slices; two slices of STS_006 have two contours."""
    folder = shared_data / "pet_rtstruct_sts" / patient / modality
    grid = folder_volume(folder / "image", Unit.SUVBW if modality == "PET" else Unit.HOUNSFIELD)
    paths = [p for p in folder.rglob("*.dcm") if p.parent.name != "image"]
    (roi,) = structure_masks(dcmread(paths[0]), grid)
    assert np.count_nonzero(roi.mask.any(axis=(1, 2))) == slices
    assert roi.mask.sum() * grid.geometry.voxel_ml == pytest.approx(volume_ml, rel=0.03)
    values = grid.voxels[roi.mask]
    assert values.mean() == pytest.approx(mean, rel=0.01)
    if suv_max is not None:
        assert values.max() == pytest.approx(suv_max, abs=6e-3)  # the README gives two to three decimals
