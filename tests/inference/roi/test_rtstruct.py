"""RT Structure Sets as masks: the pixel-centre rule, holes, planes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.study import RoiSource
from egfr_dls.volume import Unit, Volume
from inference.roi.lesion_statistics import lesion_statistics
from inference.roi.rtstruct import structure_facts, structure_masks
from tests.builders import CT_SERIES_UID, ct_slices, pet_slices, rtstruct
from tests.inference.roi.volumes import folder_volume, volume_of


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


def test_contours_are_cut_at_the_image(ct: list[Dataset], grid: Volume) -> None:
    cut = voxels_of(ct, grid, [square(-300.0, -57.0, 8.0), square(-300.0, -57.0, 400.0)])
    assert cut == {(2, y, x) for y in (0, 1) for x in (0, 1)}


def test_the_pet_of_the_same_frame_of_reference_serves(ct: list[Dataset]) -> None:
    pet = volume_of(pet_slices(), Unit.SUVBW)
    (roi,) = structure_masks(rtstruct(ct, {"GTV": [square(-24.5, 23.5, z) for z in (8.0, 12.0)]}), pet)
    assert roi.source is RoiSource.STORED_RTSTRUCT
    assert roi.referenced_series_uids == {CT_SERIES_UID}
    assert roi.mask.sum() * pet.geometry.voxel_ml == pytest.approx(48 * 48 * 8 / 1000)


def test_only_closed_contours_make_a_region(ct: list[Dataset], grid: Volume) -> None:
    ds = rtstruct(ct, {"point": [square(-3.0, 7.0, 8.0)], "GTV": [square(-3.0, 7.0, 8.0)]})
    ds.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "POINT"
    assert [facts.label for facts in structure_facts(ds)] == ["GTV"]
    assert [roi.number for roi in structure_masks(ds, grid)] == [2]


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
    ds.pop("FrameOfReferenceUID", None)
    assert _refusal(ds, grid).code is RefusalCode.ROI_REFERENCE_MISSING


def test_contours_across_slices_are_refused(ct: list[Dataset], grid: Volume) -> None:
    tilted = [0.0, 0.0, 0.0, 20.0, 0.0, 8.0, 20.0, 20.0, 8.0, 0.0, 20.0, 0.0]
    refusal = _refusal(rtstruct(ct, {"GTV": [tilted]}), grid)
    assert refusal.code is RefusalCode.GEOMETRY_MISMATCH
    assert "leaves its slice by 4.0 mm" in refusal.message


def test_contours_of_two_points_are_refused(ct: list[Dataset], grid: Volume) -> None:
    refusal = _refusal(rtstruct(ct, {"GTV": [[0.0, 0.0, 8.0, 20.0, 0.0, 8.0]]}), grid)
    assert refusal.code is RefusalCode.GEOMETRY_MISMATCH
    assert "(3006,0050)" in refusal.message


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
