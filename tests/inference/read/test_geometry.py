"""The grid of a series: any regular stack comes back as it was written, and nothing else becomes a grid."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from inference.read.geometry import MAX_ROWS_COLUMNS, MAX_VOXELS, stack_of
from inference.read.header import tag_of
from inference.read.series import group_series
from tests import builders


def rotation(angles: tuple[float, float, float]) -> np.ndarray[Any, Any]:
    (a, b, c) = angles
    x = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    y = [[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]]
    z = [[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]]
    return np.array(x) @ np.array(y) @ np.array(z)


mm = st.floats(-500, 500).map(lambda v: round(v, 3))
spacing = st.floats(0.5, 10).map(lambda v: round(v, 3))
angle = st.floats(-math.pi, math.pi)


@settings(max_examples=60, deadline=None)
@given(
    origin=st.tuples(mm, mm, mm), step=st.tuples(spacing, spacing, spacing), angles=st.tuples(angle, angle, angle),
    n=st.integers(2, 6), seed=st.integers(0, 9),
)  # fmt: skip
def test_any_regular_stack_round_trips(
    origin: tuple[float, float, float],
    step: tuple[float, float, float],
    angles: tuple[float, float, float],
    n: int,
    seed: int,
) -> None:
    """Whatever the orientation and the order of the files, index (x, y, z) is where the header put it."""
    axes = rotation(angles).T  # rows: along x, along y, normal
    datasets = builders.pet_slices(
        np.zeros((n, 3, 5)),
        PixelSpacing=[f"{step[1]:.6f}", f"{step[2]:.6f}"],
        ImageOrientationPatient=[f"{v:.8f}" for v in axes[:2].ravel()],
        ImagePositionPatient=lambda i: [f"{v:.5f}" for v in np.array(origin) + i * step[0] * axes[2]],
        InstanceNumber=lambda i: n - i,
    )
    (series,) = group_series(random.Random(seed).sample(datasets, n))
    stack = stack_of(series)
    assert [ds.SOPInstanceUID for ds in stack.datasets] == [ds.SOPInstanceUID for ds in datasets]
    assert stack.geometry.shape == (n, 3, 5)
    last = np.array(origin) + (n - 1) * step[0] * axes[2] + 2 * step[1] * axes[1] + 4 * step[2] * axes[0]
    assert stack.geometry.index_to_mm @ [4, 2, n - 1, 1] == pytest.approx([*last, 1], abs=1e-3)


def z(positions: list[float]) -> Callable[[int], list[float]]:
    return lambda i: [-60.0, -60.0, positions[i]]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "gap": ({"ImagePositionPatient": z([0, 4, 8, 16, 20, 24, 28, 32])}, "ImagePositionPatient (0020,0032)", "8.000 mm"),
    "duplicate": ({"ImagePositionPatient": z([0, 4, 8, 8, 12, 16, 20, 24])}, "at one position", "one slice for each position"),
    "uneven": ({"ImagePositionPatient": z([0, 4, 8.3, 12, 16, 20, 24, 28])}, "apart, others 4.000 mm", "gaps"),
    "tilt": (
        {"ImagePositionPatient": lambda i: [-60.0, -60.0 + 0.5 * i, 4.0 * i], "GantryDetectorTilt": "7"},
        "GantryDetectorTilt (0018,1120) is '7'", "without gantry tilt"),
    "no position": (
        {"ImagePositionPatient": lambda i: None if i == 2 else [0, 0, 4 * i]},
        "ImagePositionPatient (0020,0032) is missing", "three numbers"),
    "no orientation": ({"ImageOrientationPatient": None}, "ImageOrientationPatient (0020,0037) is missing", "six"),
    "mixed orientation": (
        {"ImageOrientationPatient": lambda i: [1, 0, 0, 0, 0, -1] if i == 5 else [1, 0, 0, 0, 1, 0]},
        "ImageOrientationPatient (0020,0037)", "one orientation"),
    "two beds that overlap": (
        {"ImagePositionPatient": z([0, 4, 8, 12, 10, 14, 18, 22])}, "apart, others", "equal distances"),
    "two beds with one slice in common": (
        {"ImagePositionPatient": z([0, 4, 8, 12, 12, 16, 20, 24])}, "at one position", "one slice for each position"),
    "far position": (
        {"ImagePositionPatient": lambda i: [0, 0, "1e300" if i == 5 else 4 * i]}, "1e300' in instance", "at most 100000"),
    "infinite orientation": (
        {"ImageOrientationPatient": ["1e308", "0", "0", "0", "1e308", "0"]}, "(0020,0037)", "unit vectors"),
    "huge pixels": ({"PixelSpacing": ["1e6", "1e6"]}, "PixelSpacing (0028,0030)", "0.05 to 50 mm"),
    "tiny pixels": ({"PixelSpacing": ["1e-9", "1e-9"]}, "16 voxels of 1e-09 mm", "0.05 to 50 mm"),
    "huge field": ({"PixelSpacing": ["49", "49"], "Rows": 64}, "64 voxels of 49 mm", "1500 mm in all"),
    "slices far apart": (
        {"ImagePositionPatient": lambda i: [0, 0, 9000 * i]}, "8 voxels of 9000 mm", "3000 mm in all"),
    "zero orientation": ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "(0020,0037)", "unit vectors"),
    "skewed": ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.8, 0]}, "(0020,0037)", "right angle"),
    "mixed rows": ({"Rows": lambda i: 8 if i == 3 else 16}, "Rows (0028,0010) is '8'", "one value"),
    "mixed columns": ({"Columns": lambda i: 8 if i == 3 else 16}, "Columns (0028,0011) is '8'", "one value"),
    "mixed classes": (
        {"SOPClassUID": lambda i: "1.2.840.10008.5.1.4.1.1.128" if i else "1.2.3"}, "SOPClassUID (0008,0016)", "one value"),
    "orientation turned by a degree": (
        {"ImageOrientationPatient": lambda i: [0.99985, 0.01745, 0, -0.01745, 0.99985, 0] if i == 5 else [1, 0, 0, 0, 1, 0]},
        "ImageOrientationPatient (0020,0037)", "one orientation"),
    "mixed spacing": (
        {"PixelSpacing": lambda i: [4, 4] if i == 3 else [8, 8]}, "PixelSpacing (0028,0030)", "one value"),
    "mixed frames": (
        {"FrameOfReferenceUID": lambda i: f"1.2.{i}"}, "FrameOfReferenceUID (0020,0052)", "one value"),
    "zero spacing": ({"PixelSpacing": [0, 4]}, "PixelSpacing (0028,0030)", "above 0"),
    "no spacing": ({"PixelSpacing": None}, "PixelSpacing (0028,0030) is missing", "above 0"),
    "no rows": ({"Rows": 0}, "Rows (0028,0010) is '0'", "above 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_grid_is_refused_before_pixels_are_touched(case: str) -> None:
    overrides, found, needed = REFUSED[case]
    datasets = builders.pet_slices(PixelData=None, **overrides)
    (series,) = group_series(datasets)
    with pytest.raises(StudyRefusedError) as refused:
        stack_of(series)
    assert refused.value.code is RefusalCode.GEOMETRY_MISMATCH
    assert found in refused.value.message
    assert needed in refused.value.message


def test_rounded_positions_are_a_grid() -> None:
    (series,) = group_series(
        builders.pet_slices(ImagePositionPatient=z([0, 3.27, 6.55, 9.81, 13.08, 16.35, 19.62, 22.89]))
    )
    assert stack_of(series).geometry.spacing_mm[0] == pytest.approx(3.27)


def test_a_single_slice_has_its_thickness() -> None:
    (series,) = group_series(builders.pet_slices()[:1])
    assert stack_of(series).geometry.spacing_mm == (4.0, 8.0, 8.0)


@pytest.mark.parametrize(("overrides", "words"), [
    ({"SamplesPerPixel": 3}, "SamplesPerPixel (0028,0002) is '3'"),
    ({"NumberOfFrames": 2}, "NumberOfFrames (0028,0008) is '2'"),
    ({"NumberOfFrames": 10**6}, "NumberOfFrames (0028,0008) is '1000000'"),
    ({"Rows": 65535, "Columns": 65535}, "Rows (0028,0010) is '65535'"),
])  # fmt: skip
def test_other_pixels_than_grey_slices_are_refused(overrides: dict[str, Any], words: str) -> None:
    (series,) = group_series(builders.pet_slices(**overrides))
    with pytest.raises(StudyRefusedError, match="PIXELS_UNREADABLE") as refused:
        stack_of(series)
    assert words in refused.value.message


def test_a_stack_beyond_all_memory_is_refused_from_its_headers() -> None:
    """As many slices as a position allows, as wide as a scanner: still no array is made."""
    n = MAX_VOXELS // MAX_ROWS_COLUMNS**2 + 1
    datasets = builders.pet_slices(
        np.zeros((n, 1, 1)),
        Rows=MAX_ROWS_COLUMNS, Columns=MAX_ROWS_COLUMNS, PixelSpacing=["0.2", "0.2"], PixelData=None,
    )  # fmt: skip
    (series,) = group_series(datasets)
    with pytest.raises(StudyRefusedError, match="PIXELS_UNREADABLE") as refused:
        stack_of(series)
    assert f"at most {MAX_VOXELS}" in refused.value.message


@pytest.mark.parametrize("value", [b"nan", b"inf", b"-inf", b"", b"1e999", b"0x10", b"\xff\xfe"])
@pytest.mark.parametrize(("keyword", "count"), [
    ("PixelSpacing", 2), ("ImagePositionPatient", 3), ("ImageOrientationPatient", 6),
])  # fmt: skip
def test_what_is_no_number_is_refused(keyword: str, count: int, value: bytes) -> None:
    datasets = builders.pet_slices()
    for ds in datasets:
        tag, written = tag_of(keyword), b"\\".join([value] * count)
        ds._dict[tag] = RawDataElement(tag, "DS", len(written), written, 0, False, True)
    (series,) = group_series(datasets)
    with pytest.raises(StudyRefusedError, match="GEOMETRY_MISMATCH") as refused:
        stack_of(series)
    assert f"{keyword} {tag_of(keyword)} is " in refused.value.message


def test_beds_that_continue_each_other_are_one_grid() -> None:
    """Two acquisitions at two times, one regular stack (PS3.3 C.8.9.4: WHOLE BODY)."""
    (series,) = group_series(
        builders.pet_slices(
            AcquisitionNumber=lambda i: 1 + i // 4,
            AcquisitionTime=lambda i: "110000" if i < 4 else "110300",
            FrameReferenceTime=lambda i: "90000" if i < 4 else "270000",
        )
    )
    assert stack_of(series).geometry.shape[0] == 8


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(angle, angle, angle), origin=st.tuples(mm, mm, mm), step=st.tuples(spacing, spacing, spacing),
    index=st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 3)),
    flipped=st.booleans(),
)  # fmt: skip
def test_a_pixels_place_comes_back_as_its_index(
    angles: tuple[float, float, float],
    origin: tuple[float, float, float],
    step: tuple[float, float, float],
    index: tuple[int, int, int],
    flipped: bool,
) -> None:
    """The position that PS3.3 C.7.6.2.1.1 gives pixel (column, row) of a slice is that voxel's, slices stored either way."""
    axes = rotation(angles).T
    datasets = builders.pet_slices(
        np.zeros((4, 3, 5)),
        PixelSpacing=[f"{step[1]:.6f}", f"{step[2]:.6f}"],
        ImageOrientationPatient=[f"{v:.8f}" for v in axes[:2].ravel()],
        ImagePositionPatient=lambda i: [
            f"{v:.5f}" for v in np.array(origin) + (-i if flipped else i) * step[0] * axes[2]
        ],
    )
    (series,) = group_series(datasets)
    stack = stack_of(series)
    column, row, slice_number = index
    ds = datasets[slice_number]
    cosines = np.array([float(v) for v in ds.ImageOrientationPatient]).reshape(2, 3)
    spacing_row, spacing_column = (float(v) for v in ds.PixelSpacing)
    place = np.array([float(v) for v in ds.ImagePositionPatient])
    place += column * spacing_column * cosines[0] + row * spacing_row * cosines[1]
    found = np.linalg.inv(stack.geometry.index_to_mm) @ [*place, 1.0]
    assert found[:3] == pytest.approx([column, row, stack.datasets.index(ds)], abs=0.01)
