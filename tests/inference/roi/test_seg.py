"""SEG objects as masks: types, placement, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydicom import DataElement, Dataset, dcmread
from pydicom.uid import RLELossless

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.study import RoiSource
from egfr_dls.volume import Unit, Volume
from inference.roi.seg import segment_facts, segment_masks
from tests.builders import CT_SERIES_UID, STUDY_UID, ct_slices, pet_slices, to_part10
from tests.inference.roi.volumes import folder_volume, segmentation, set_raw, volume_of

Kind = hd.seg.SegmentationTypeValues


@pytest.fixture(scope="module")
def ct() -> list[Dataset]:
    return ct_slices()


@pytest.fixture(scope="module")
def grid(ct: list[Dataset]) -> Volume:
    return volume_of(ct, Unit.HOUNSFIELD)


@pytest.fixture(scope="module")
def truth(grid: Volume) -> NDArray[np.bool_]:
    """An asymmetric region that leaves the lowest and highest slice empty."""
    mask = np.zeros(grid.geometry.shape, dtype=np.bool_)
    mask[1:-1, 5:12, 9:24] = True
    mask[2, 3:5, 20:27] = True
    return mask


@pytest.mark.parametrize("omit_empty_frames", [True, False], ids=["sparse", "empty frames"])
@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.LABELMAP])
def test_voxels_are_the_stored_ones(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_], kind: Kind, omit_empty_frames: bool
) -> None:
    seg = segmentation(ct, truth.astype(np.uint8), kind=kind, omit_empty_frames=omit_empty_frames)
    (roi,) = segment_masks(seg, grid)
    np.testing.assert_array_equal(roi.mask, truth)
    assert (roi.label, roi.number, roi.source) == ("tumour", 1, RoiSource.STORED_SEG)
    assert roi.tracking_uid == f"{STUDY_UID}.77.1"
    assert roi.reference.series_uids == {CT_SERIES_UID}
    assert not roi.method, "nothing was interpolated"
    assert not roi.mask.flags.writeable


def test_a_fraction_counts_from_one_half_and_the_report_says_so(ct: list[Dataset], grid: Volume) -> None:
    fraction = np.zeros(grid.geometry.shape)
    fraction[2, 4, 3:6] = [0.4, 0.6, 1.0]
    (roi,) = segment_masks(segmentation(ct, fraction, kind=Kind.FRACTIONAL), grid)
    np.testing.assert_array_equal(np.argwhere(roi.mask), [[2, 4, 4], [2, 4, 5]])
    assert roi.method == "at or above 0.5 of the maximum probability"


@pytest.mark.parametrize(("maximum", "least"), [(100, 50), (255, 128), (1, 1), (3, 2)])
def test_half_of_the_maximum_counts_whatever_the_maximum(
    ct: list[Dataset], grid: Volume, maximum: int, least: int
) -> None:
    """MaximumFractionalValue (0062,000E) is the object's own; at half of it a pixel is inside."""
    seg = segmentation(ct, np.ones(grid.geometry.shape), kind=Kind.FRACTIONAL)
    seg.MaximumFractionalValue = maximum
    pixels = np.zeros(grid.geometry.shape, dtype=np.uint8)
    pixels[2, 4, 3:6] = [least - 1, least, maximum]  # of one frame, whichever slice that is
    seg.PixelData = pixels.tobytes()
    (roi,) = segment_masks(seg, grid)
    np.testing.assert_array_equal(np.argwhere(roi.mask)[:, 1:], [[4, 4], [4, 5]])


def test_overlapping_segments_stay_apart(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    other = np.roll(truth, 3, axis=2)
    seg = segmentation(ct, np.stack([truth, other], axis=3).astype(np.uint8), ("a", "b"))
    a, b = segment_masks(seg, grid)
    np.testing.assert_array_equal(a.mask, truth)
    np.testing.assert_array_equal(b.mask, other)


def test_only_wanted_segments_are_read(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, np.stack([truth, ~truth], axis=3).astype(np.uint8), ("a", "b"))
    (roi,) = segment_masks(seg, grid, [2])
    np.testing.assert_array_equal(roi.mask, ~truth)


def test_compressed_frames_are_decoded(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    fraction = truth.astype(np.float64)
    seg = segmentation(ct, fraction, kind=Kind.FRACTIONAL, transfer_syntax_uid=RLELossless)
    (roi,) = segment_masks(seg, grid)
    np.testing.assert_array_equal(roi.mask, truth)


def test_a_part_of_the_slices_is_placed_by_position(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    """The frames know their place; neither their number nor the order of the sources tells it."""
    by_height = sorted(ct, key=lambda ds: float(ds.ImagePositionPatient[2]))
    part = list(reversed(by_height[1:4]))
    (roi,) = segment_masks(segmentation(part, truth[1:4][::-1].astype(np.uint8)), grid)
    expected = np.zeros_like(truth)
    expected[1:4] = truth[1:4]
    np.testing.assert_array_equal(roi.mask, expected)


def test_two_frames_of_one_place_are_joined(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    z_of = [float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in seg.PerFrameFunctionalGroupsSequence]
    moved, other = z_of.index(8.0), z_of.index(4.0)
    assert (truth[2] & ~truth[1]).any()
    place = seg.PerFrameFunctionalGroupsSequence[other].PlanePositionSequence
    seg.PerFrameFunctionalGroupsSequence[moved].PlanePositionSequence = place
    (roi,) = segment_masks(seg, grid)
    np.testing.assert_array_equal(roi.mask[1], truth[1] | truth[2])
    assert not roi.mask[2].any()


def test_another_grid_of_the_frame_of_reference_is_reached_by_nearest_neighbour(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]
) -> None:
    pet = volume_of(pet_slices(origin_mm=(-61.0, -61.0, 0.5)), Unit.SUVBW)
    (roi,) = segment_masks(segmentation(ct, truth.astype(np.uint8)), pet)
    assert roi.method == "carried by nearest neighbour"
    z, y, x = np.indices(pet.geometry.shape).reshape(3, -1)
    places = pet.geometry.index_to_mm @ np.stack([x, y, z, np.ones_like(x)])
    x, y, z = np.rint(np.linalg.inv(grid.geometry.index_to_mm) @ places)[:3].astype(int)
    inside = (z < 8) & (y < 32) & (x < 32)
    expected = np.zeros(inside.shape, dtype=np.bool_)
    expected[inside] = truth[z[inside], y[inside], x[inside]]
    np.testing.assert_array_equal(roi.mask.ravel(), expected)
    assert roi.mask.any()


def _refusal(seg: Dataset, grid: Volume) -> StudyRefusedError:
    with pytest.raises(StudyRefusedError) as refused:
        segment_masks(seg, grid)
    assert str(seg.SOPInstanceUID) in refused.value.message
    return refused.value


def test_other_images_are_refused(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    assert segment_masks(seg, grid), "the frame of reference still is the same"
    seg.FrameOfReferenceUID = "1.2.4"
    refusal = _refusal(seg, grid)
    assert refusal.code is RefusalCode.ROI_REFERENCE_MISSING
    assert "1.2.3" in refusal.message
    assert "1.2.4" in refusal.message


@pytest.mark.parametrize("kind", list(Kind))
def test_an_object_that_refers_to_nothing_is_refused(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_], kind: Kind
) -> None:
    """Also where the images have no frame of reference: two that are missing are not one."""
    seg = segmentation(ct, truth.astype(np.float64 if kind is Kind.FRACTIONAL else np.uint8), kind=kind)
    del seg.ReferencedSeriesSequence, seg.FrameOfReferenceUID
    for images in (grid, replace(grid, frame_of_reference_uid="")):
        refusal = _refusal(seg, images)
        assert refusal.code is RefusalCode.ROI_REFERENCE_MISSING
        assert "SeriesInstanceUID (0020,000E) (none) and FrameOfReferenceUID (0020,0052) (none)" in refusal.message


def test_frames_without_a_place_are_refused(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    del seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    refusal = _refusal(seg, grid)
    assert refusal.code is RefusalCode.GEOMETRY_MISMATCH
    assert "ImagePositionPatient" in refusal.message


def test_frames_that_make_no_grid_are_refused(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    place = seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    x, y, z = (float(v) for v in place.ImagePositionPatient)
    place.ImagePositionPatient = [x, y, z + 1.2]
    refusal = _refusal(seg, grid)
    assert refusal.code is RefusalCode.GEOMETRY_MISMATCH
    assert "no regular grid" in refusal.message


def test_frames_whose_thickness_is_not_their_distance_make_a_grid(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]
) -> None:
    """Frames off the image's lattice, 4 mm apart and 5 mm thick, without Spacing Between Slices (0018,0088)."""
    seg = segmentation(ct, truth.astype(np.uint8))
    for i, group in enumerate(seg.PerFrameFunctionalGroupsSequence):
        place = group.PlanePositionSequence[0]
        x, y, _ = (float(v) for v in place.ImagePositionPatient)
        place.ImagePositionPatient = [x + 0.3, y, 0.5 + 4.0 * i]
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SliceThickness = 5.0
    if "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices
    (roi,) = segment_masks(seg, grid)
    assert roi.mask.any()


def test_rows_and_columns_keep_their_own_spacing() -> None:
    """Pixels of 2 mm down and 5 mm across: on their lattice, and carried from half a slice beside it."""
    images = ct_slices(np.zeros((4, 12, 10), dtype=np.float32), spacing_mm=(4.0, 2.0, 5.0))
    oblong = volume_of(images, Unit.HOUNSFIELD)
    block = np.zeros((4, 12, 10), dtype=np.uint8)
    block[1:3, 2:11, 1:4] = 1
    seg = segmentation(images, block)
    (roi,) = segment_masks(seg, oblong)
    assert not roi.method
    np.testing.assert_array_equal(roi.mask, block)
    x, y, z = oblong.geometry.origin_mm
    beside = replace(oblong, geometry=replace(oblong.geometry, origin_mm=(x + 1.5, y + 0.6, z)))
    (roi,) = segment_masks(seg, beside)
    assert roi.method == "carried by nearest neighbour"
    np.testing.assert_array_equal(roi.mask, block)


@pytest.mark.parametrize(("sideways_mm", "refused"), [(1.9, False), (2.2, True)])
def test_frames_may_lie_half_a_pixel_sideways(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_], sideways_mm: float, refused: bool
) -> None:
    """Of 4 mm: by a shear of the stack off the image's lattice."""
    seg = segmentation(ct, truth.astype(np.uint8))
    place_of = seg.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    x, y, z = (float(v) for v in place_of.ImagePositionPatient)
    place_of.ImagePositionPatient = [x + sideways_mm, y, z]
    if refused:
        assert "2.20 mm sideways" in _refusal(seg, grid).message
    else:
        assert segment_masks(seg, grid)[0].mask.any()


def test_frames_closer_than_half_their_thickness_stay_apart(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]
) -> None:
    """Two frames 1 mm apart and 5 mm thick are two slices: the image's slice takes the nearer one, not both."""
    seg = segmentation(ct[1:3], np.stack([truth[1], truth[2] & ~truth[1]]).astype(np.uint8))
    for z, group in zip((7.6, 8.6), seg.PerFrameFunctionalGroupsSequence, strict=True):
        place_of = group.PlanePositionSequence[0]
        x, y, _ = (float(v) for v in place_of.ImagePositionPatient)
        place_of.ImagePositionPatient = [x + 1.2, y, z]
    shared = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    shared.SliceThickness = 5.0
    if "SpacingBetweenSlices" in shared:
        del shared.SpacingBetweenSlices
    (roi,) = segment_masks(seg, grid)
    voxels = int(roi.mask.sum())
    assert voxels in {int(truth[1].sum()), int((truth[2] & ~truth[1]).sum())}, "one frame's, not those of both"


def test_a_frames_own_groups_come_before_the_shared_ones(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]
) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    shared = Dataset()
    shared.ImagePositionPatient = [0.0, 0.0, 999.0]
    seg.SharedFunctionalGroupsSequence[0].PlanePositionSequence = [shared]
    (roi,) = segment_masks(seg, grid)
    np.testing.assert_array_equal(roi.mask, truth)


@pytest.mark.parametrize(("stated", "kept"), [("not a uid", None), ("1." + "2" * 80, None), ("1.2.3", "1.2.3")])
def test_a_tracking_uid_that_is_none_is_not_taken_over(
    ct: list[Dataset], truth: NDArray[np.bool_], stated: str, kept: str | None
) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    set_raw(seg.SegmentSequence[0], "TrackingUID", stated, "UI")
    assert segment_facts(seg)[0].tracking_uid == kept


def test_frames_of_two_orientations_are_refused(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    orientation_of = Dataset()
    orientation_of.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
    seg.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = [orientation_of]
    refusal = _refusal(seg, grid)
    assert refusal.code is RefusalCode.GEOMETRY_MISMATCH
    assert "frames of 2 orientations and 1 pixel spacings, needed one" in refusal.message


def test_frames_beside_the_images_are_cut(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    """A slice below the lowest is not the highest."""
    seg = segmentation(ct, truth.astype(np.uint8))
    for groups in seg.PerFrameFunctionalGroupsSequence:
        place_of = groups.PlanePositionSequence[0]
        x, y, z = (float(v) for v in place_of.ImagePositionPatient)
        place_of.ImagePositionPatient = [x, y, z - 12.0]
    (roi,) = segment_masks(seg, grid)
    expected = np.zeros_like(truth)
    expected[:-3] = truth[3:]
    np.testing.assert_array_equal(roi.mask, expected)


def test_damaged_pixels_are_refused(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    seg.PixelData = seg.PixelData[:4]
    refusal = _refusal(seg, grid)
    assert refusal.code is RefusalCode.PIXELS_UNREADABLE
    assert "Explicit VR Little Endian" in refusal.message


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        (lambda s: s.PerFrameFunctionalGroupsSequence.pop(), "GEOMETRY_MISMATCH",
         "NumberOfFrames (0028,0008) is '6' and PerFrameFunctionalGroupsSequence (5200,9230) has 5 items"),
        (lambda s: setattr(s, "NumberOfFrames", 1_000_000), "GEOMETRY_MISMATCH", "NumberOfFrames (0028,0008) is '1000000'"),
        (lambda s: (setattr(s, "Rows", 65535), setattr(s, "Columns", 65535)), "GEOMETRY_MISMATCH", "Rows (0028,0010) is '65535'"),
        (lambda s: setattr(s, "Rows", 0), "GEOMETRY_MISMATCH", "Rows (0028,0010) is '0'"),
        (lambda s: (setattr(s, "Rows", 8192), setattr(s, "Columns", 8192)), "PIXELS_UNREADABLE",
         "PixelData (7FE0,0010) of 768 bytes where 6 frames of 8192 x 8192 need 50331648"),
        (lambda s: setattr(s, "SegmentationType", "SURFACE"), "GEOMETRY_MISMATCH",
         "SegmentationType (0062,0001) is 'SURFACE', needed BINARY, FRACTIONAL or LABELMAP"),
        (lambda s: measures(s, PixelSpacing=[0, 4]), "GEOMETRY_MISMATCH", "PixelSpacing (0028,0030) is 0\\4, needed two above 0"),
        (lambda s: measures(s, PixelSpacing=None), "GEOMETRY_MISMATCH", "PixelSpacing (0028,0030) is missing"),
        (lambda s: place(s, float("nan")), "GEOMETRY_MISMATCH", "ImagePositionPatient (0020,0032) is"),
        (lambda s: place(s, 1e9), "GEOMETRY_MISMATCH", "ImagePositionPatient (0020,0032) is 1e+09 mm away"),
        (lambda s: orientation(s, [1, 0, 0, 1, 0, 0]), "GEOMETRY_MISMATCH",
         "ImageOrientationPatient (0020,0037) is 1\\0\\0\\1\\0\\0, needed two unit vectors at a right angle"),
        (lambda s: (measures(s, SpacingBetweenSlices=1e-6), measures(s, PixelSpacing=[3, 3])), "GEOMETRY_MISMATCH",
         "span a grid of 2e+10 voxels"),
        (lambda s: delattr(s.SharedFunctionalGroupsSequence[0], "SegmentIdentificationSequence"), "GEOMETRY_MISMATCH",
         "ReferencedSegmentNumber (0062,000B) is missing"),
    ],
    ids=["a frame too many", "a million frames", "4 gigapixels", "no rows", "more pixels than bytes", "another type",
         "zero spacing", "no spacing", "NaN position", "far position", "no plane", "endless own grid", "a frame of nothing"],
)  # fmt: skip
def test_hostile_geometry_is_refused_before_memory_is_taken(
    ct: list[Dataset],
    grid: Volume,
    truth: NDArray[np.bool_],
    change: Callable[[Dataset], object],
    code: str,
    found: str,
) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    change(seg)
    tracemalloc.start()
    refusal = _refusal(seg, grid)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refusal.code == code
    assert found in refusal.message
    assert peak < 5_000_000


def measures(seg: Dataset, **values: object) -> None:
    for keyword, value in values.items():
        setattr(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], keyword, value)


def orientation(seg: Dataset, cosines: list[float]) -> None:
    seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = cosines


def place(seg: Dataset, x_mm: float) -> None:
    item = seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    set_raw(item, "ImagePositionPatient", f"{x_mm:g}\\0\\8", "DS")


def test_a_maximum_fraction_of_zero_is_refused(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.float64), kind=Kind.FRACTIONAL)
    seg.MaximumFractionalValue = 0
    assert "MaximumFractionalValue (0062,000E) is '0', needed 1 to 255" in _refusal(seg, grid).message


def test_occupancy_counts_as_probability_does(ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.float64), kind=Kind.FRACTIONAL)
    seg.SegmentationFractionalType = "OCCUPANCY"
    (roi,) = segment_masks(seg, grid)
    np.testing.assert_array_equal(roi.mask, truth)
    assert roi.method == "at or above 0.5 of the maximum occupancy"


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.LABELMAP])
def test_a_segment_without_a_frame_says_so(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_], kind: Kind
) -> None:
    pixels = np.stack([truth, np.zeros_like(truth)], axis=3).astype(np.uint8)
    full, hollow = segment_masks(segmentation(ct, pixels, ("tumour", "lost"), kind=kind), grid)
    assert not full.hollow
    assert not hollow.mask.any()
    assert "has no pixel in any of the 6 frames" in hollow.hollow


def test_an_oblique_segmentation_is_carried_to_the_images(ct: list[Dataset], grid: Volume) -> None:
    """Frames in planes tilted by 30 degrees about x: every voxel whose centre lies in the block, within half a pixel."""
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    axes = np.array([[1, 0, 0], [0, cosine, sine]])
    normal = np.cross(*axes)
    first = np.array([-20.0, -20.0, 4.0])
    tilted = ct_slices(np.zeros((6, 12, 10), dtype=np.float32))
    for i, ds in enumerate(tilted):
        ds.ImageOrientationPatient = [float(v) for v in axes.ravel()]
        ds.ImagePositionPatient = [float(v) for v in first + 4.0 * i * normal]
    (roi,) = segment_masks(segmentation(tilted, np.ones((6, 12, 10), dtype=np.uint8)), grid)
    assert roi.method == "carried by nearest neighbour"
    z, y, x = np.indices(grid.geometry.shape).reshape(3, -1)
    centres = (grid.geometry.index_to_mm @ np.stack([x, y, z, np.ones_like(x)]))[:3].T
    along = (centres - first) @ np.stack([*axes, normal]).T / 4.0
    away = np.abs(along - (np.array([10, 12, 6]) - 1) / 2) - np.array([10, 12, 6]) / 2
    inside, outside = (away < -1e-3).all(axis=1), (away > 1e-3).any(axis=1)
    assert roi.mask.ravel()[inside].all()
    assert not roi.mask.ravel()[outside].any()
    assert inside.sum() > 200


def test_whose_it_is_and_of_when(ct: list[Dataset], truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    seg.ContentCreatorName, seg.ContentDate, seg.ContentTime = "Doe^Jane", "20240501", "101112"
    (facts,) = segment_facts(seg)
    assert facts.origin.who == "Doe Jane"
    assert facts.content_datetime == datetime(2024, 5, 1, 10, 11, 12)  # noqa: DTZ001  # as the header has it
    assert facts.origin.by_person
    seg.ContentCreatorName = ""
    seg.SegmentSequence[0].SegmentAlgorithmType = "AUTOMATIC"
    (facts,) = segment_facts(seg)
    assert facts.origin.who == "test test 1"
    assert not facts.origin.by_person


def test_a_label_of_60000_characters_is_cut(ct: list[Dataset], truth: NDArray[np.bool_]) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    set_raw(seg.SegmentSequence[0], "SegmentLabel", "tumour " * 10_000)
    (facts,) = segment_facts(seg)
    assert len(facts.label) == 1024
    assert len(facts.name) < 200


def test_a_name_that_is_a_sequence_is_nobody_and_harms_nothing(
    ct: list[Dataset], grid: Volume, truth: NDArray[np.bool_]
) -> None:
    seg = segmentation(ct, truth.astype(np.uint8))
    for tag in (0x00100010, 0x00700084, 0x00080070, 0x00080023, 0x00080012):
        seg[tag] = DataElement(tag, "SQ", [Dataset()])
    (roi,) = segment_masks(seg, grid)
    np.testing.assert_array_equal(roi.mask, truth)
    assert roi.content_datetime is None


@settings(max_examples=25)
@given(
    pixels=arrays(np.bool_, (8, 32, 32), elements=st.booleans(), fill=st.booleans()),
    kind=st.sampled_from(list(Kind)),
    omit_empty_frames=st.booleans(),
)
def test_random_masks_come_back_as_highdicom_wrote_them(
    ct: list[Dataset], grid: Volume, pixels: NDArray[np.bool_], kind: Kind, omit_empty_frames: bool
) -> None:
    if not pixels.any():
        pixels[3, 4, 5] = True  # highdicom writes no SEG without a frame
    stored = pixels.astype(np.float64 if kind is Kind.FRACTIONAL else np.uint8)
    seg = segmentation(ct, stored, kind=kind, omit_empty_frames=omit_empty_frames)
    (roi,) = segment_masks(dcmread(BytesIO(to_part10(seg))), grid)
    np.testing.assert_array_equal(roi.mask, pixels)


def _nrrd(path: Path) -> NDArray[np.int64]:
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))).astype(np.int64)


@pytest.mark.shared_data
@pytest.mark.parametrize(("size", "voxels"), [("24x38x3", (0, 315, 0)), ("23x38x3", (4, 314, 4))])
def test_dcmqi_odd_sizes_equal_their_nrrd(shared_data: Path, size: str, voxels: tuple[int, ...]) -> None:
    """Non-square and odd sizes catch swapped axes and wrong bit packing."""
    folder = shared_data / "seg_rtstruct_sr/dcmqi/segmentations" / size
    grid = folder_volume(folder / "image", Unit.HOUNSFIELD)
    (roi,) = segment_masks(dcmread(folder / "seg/label.seg"), grid)
    np.testing.assert_array_equal(roi.mask, _nrrd(folder / "nrrd/label.nrrd") == 1)
    assert tuple(roi.mask.sum(axis=(1, 2))) == voxels


@pytest.mark.shared_data
def test_dcmqi_liver_and_overlaps(shared_data: Path) -> None:
    folder = shared_data / "seg_rtstruct_sr/dcmqi/segmentations"
    grid = folder_volume(folder / "ct-3slice", Unit.HOUNSFIELD)
    (liver,) = segment_masks(dcmread(folder / "liver.dcm"), grid)
    np.testing.assert_array_equal(liver.mask, _nrrd(folder / "liver_seg.nrrd") > 0)
    assert tuple(liver.mask.sum(axis=(1, 2))) == (36233, 35645, 35220)
    stored = {part: _nrrd(folder / f"partial_overlaps-{part}.nrrd") for part in (1, 2, 3)}
    overlapping = segment_masks(dcmread(folder / "partial_overlaps.dcm"), grid)
    assert len(overlapping) == 5
    for roi in overlapping:
        np.testing.assert_array_equal(
            roi.mask, np.logical_or.reduce([labels == roi.number for labels in stored.values()])
        )


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["noppv", "ppv5"])
def test_sparse_label_maps_are_read_without_their_background(shared_data: Path, name: str) -> None:
    folder = shared_data / "seg_rtstruct_sr/dcmqi/segmentations"
    grid = folder_volume(folder / "24x38x3/image", Unit.HOUNSFIELD)
    (roi,) = segment_masks(dcmread(folder / f"sparse-labelmap-{name}.dcm"), grid)
    assert roi.label == "Liver"
    np.testing.assert_array_equal(roi.mask, _nrrd(folder / f"sparse_labelmap_{name}_seg.nrrd") == 1)


@pytest.mark.shared_data
def test_segmentations_of_images_that_are_not_here_are_refused(shared_data: Path) -> None:
    """Also those of slide microscopy, whose frames have no place in a patient."""
    grid = folder_volume(shared_data / "seg_rtstruct_sr/dcmqi/segmentations/ct-3slice", Unit.HOUNSFIELD)
    foreign = sorted((shared_data / "seg_rtstruct_sr/highdicom").glob("seg_image_*.dcm"))
    assert len(foreign) == 12
    for path in [shared_data / "seg_rtstruct_sr/dcmqi/sr-example/seg.dcm", *foreign]:
        seg = dcmread(path)
        assert segment_facts(seg)
        assert _refusal(seg, grid).code is RefusalCode.ROI_REFERENCE_MISSING
