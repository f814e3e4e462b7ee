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
from pydicom import Dataset
from pydicom.dataelem import RawDataElement

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from inference.read.geometry import MAX_VOXELS, stack_of
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
    "zero orientation": ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "(0020,0037)", "unit vectors"),
    "skewed": ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.8, 0]}, "(0020,0037)", "right angle"),
    "mixed rows": ({"Rows": lambda i: 8 if i == 3 else 16}, "Rows (0028,0010) is '8'", "one value"),
    "mixed columns": ({"Columns": lambda i: 8 if i == 3 else 16}, "Columns (0028,0011) is '8'", "one value"),
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


@pytest.mark.parametrize(("overrides", "words"), [({"SamplesPerPixel": 3}, "SamplesPerPixel (0028,0002) is '3'"),
                                                  ({"NumberOfFrames": 2}, "NumberOfFrames (0028,0008) is '2'"),
                                                  ({"Rows": 65535, "Columns": 65535}, str(MAX_VOXELS))])  # fmt: skip
def test_other_pixels_than_grey_slices_are_refused(overrides: dict[str, Any], words: str) -> None:
    (series,) = group_series(builders.pet_slices(**overrides))
    with pytest.raises(StudyRefusedError, match="PIXELS_UNREADABLE") as refused:
        stack_of(series)
    assert words in refused.value.message


def nan_spacing(ds: Dataset) -> None:
    tag = tag_of("PixelSpacing")
    ds._dict[tag] = RawDataElement(tag, "DS", 8, b"nan\\nan ", 0, False, True)


def test_a_spacing_that_is_no_number_is_refused() -> None:
    datasets = builders.pet_slices()
    for ds in datasets:
        nan_spacing(ds)
    (series,) = group_series(datasets)
    with pytest.raises(StudyRefusedError, match=r"PixelSpacing \(0028,0030\) is 'nan"):
        stack_of(series)
