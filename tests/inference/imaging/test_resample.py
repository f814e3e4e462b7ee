"""Arrays from grid to grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egfr_dls.volume import Geometry
from inference.imaging.resample import Interpolation, bounding_box, cropped, isotropic, mask_onto, volume_onto
from tests.inference.motion import Motion, rotation

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
TURNED = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))  # sagittal, feet down
TILTED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
GRID = Geometry((6, 8, 10), (-10.0, 5.0, 2.0), (3.0, 2.0, 2.0), AXIAL)


def positions(geometry: Geometry) -> np.ndarray:
    """Return LPS mm of every voxel centre, ``[3, z, y, x]``."""
    z, y, x = np.indices(geometry.shape)
    return np.tensordot(geometry.index_to_mm[:3], np.stack([x, y, z, np.ones_like(x)]), axes=1)


@pytest.mark.parametrize("direction", [AXIAL, TURNED, TILTED], ids=["axial", "turned", "tilted"])
def test_a_linear_ramp_survives(direction: tuple[tuple[float, float, float], ...]) -> None:
    """Values follow positions in the patient, whatever the axes; this catches swapped axes and signs."""
    source = Geometry((24, 26, 28), (-30.0, -30.0, -30.0), (2.5, 2.5, 2.5), AXIAL)
    ramp = (np.array([1.0, 10.0, 100.0]) @ positions(source).reshape(3, -1)).reshape(source.shape).astype(np.float32)
    target = Geometry((3, 4, 5), (2.0, 3.0, 4.0), (1.5, 2.0, 3.0), direction)  # type: ignore[arg-type]  # 3 x 3
    expected = (np.array([1.0, 10.0, 100.0]) @ positions(target).reshape(3, -1)).reshape(target.shape)
    np.testing.assert_allclose(volume_onto(ramp, source, target, Interpolation.LINEAR), expected, atol=1.0)


@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4.0)] * 3),
    slope=st.tuples(*[st.floats(-5, 5)] * 3),
)
@settings(max_examples=40, deadline=None)
def test_a_linear_field_is_exact_on_any_grid(
    degrees: tuple[float, float, float], spacing: tuple[float, float, float], slope: tuple[float, float, float]
) -> None:
    """Linear interpolation of a linear field is that field: oblique, flipped and unevenly spaced targets alike."""
    source = Geometry((20, 20, 20), (-30.0, -25.0, -40.0), (4.0, 2.5, 3.0), AXIAL)
    field = (np.array(slope) @ positions(source).reshape(3, -1)).reshape(source.shape).astype(np.float32)
    turn = rotation(degrees)
    middle = positions(source).reshape(3, -1).mean(axis=1)
    shape, step = (3, 4, 3), np.array(spacing)[::-1]
    corner = middle - turn @ (step * (np.array(shape)[::-1] - 1) / 2)
    target = Geometry(shape, tuple(corner), spacing, tuple(map(tuple, turn.T)))  # type: ignore[arg-type]  # 3 each
    expected = (np.array(slope) @ positions(target).reshape(3, -1)).reshape(shape)
    np.testing.assert_allclose(volume_onto(field, source, target, Interpolation.LINEAR), expected, atol=2e-3)


@given(degrees=st.tuples(*[st.floats(-180, 180)] * 3), shift=st.tuples(*[st.floats(-900, 900)] * 3))
@settings(max_examples=25, deadline=None)
def test_a_motion_of_both_grids_changes_no_value(
    degrees: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    """What is carried depends on where the grids lie to each other, not on where both lie in the room."""
    source = Geometry((8, 9, 10), (-10.0, 5.0, 2.0), (3.0, 2.0, 2.0), AXIAL)
    target = Geometry((5, 6, 7), (-7.3, 7.1, 5.9), (2.6, 2.2, 1.7), AXIAL)
    voxels = np.random.default_rng(1).random(source.shape, dtype=np.float32)
    motion = Motion(degrees, shift)
    there = volume_onto(voxels, motion.grid(source), motion.grid(target), Interpolation.LINEAR)
    np.testing.assert_allclose(there, volume_onto(voxels, source, target, Interpolation.LINEAR), atol=1e-4)


def test_outside_has_the_given_value() -> None:
    ones = np.ones(GRID.shape, dtype=np.float32)
    far = replace(GRID, origin_mm=(-10.0, 5.0, -4.0))
    carried = volume_onto(ones, GRID, far, Interpolation.LINEAR, outside=-1000.0)
    assert (carried[:2] == -1000.0).all()
    assert (carried[2:] == 1.0).all()


@given(
    shift=st.tuples(*[st.integers(-9, 9)] * 3),
    box=st.tuples(*[st.tuples(st.integers(0, 5), st.integers(1, 3))] * 3),
)
@settings(max_examples=40, deadline=None)
def test_a_mask_on_a_shifted_grid_is_the_shifted_mask(
    shift: tuple[int, int, int], box: tuple[tuple[int, int], ...]
) -> None:
    mask = np.zeros(GRID.shape, dtype=np.bool_)
    mask[tuple(slice(low, low + size) for low, size in box)] = True
    z, y, x = shift
    moved = replace(GRID, origin_mm=(-10.0 + 2 * x, 5.0 + 2 * y, 2.0 + 3 * z))
    carried = mask_onto(mask, GRID, moved)
    expected = {tuple(i - shift) for i in np.argwhere(mask)}
    kept = {i for i in expected if all(0 <= a < n for a, n in zip(i, GRID.shape, strict=True))}
    assert {tuple(i) for i in np.argwhere(carried)} == kept


@pytest.mark.parametrize("direction", [TURNED, TILTED])
def test_a_mask_in_its_bounding_box_equals_the_mask_of_the_whole(
    direction: tuple[tuple[float, float, float], ...],
) -> None:
    mask = np.zeros(GRID.shape, dtype=np.bool_)
    mask[1:3, 2:7, 3:5] = True
    middle = np.array([-3.1, 13.2, 6.4]) - np.array(direction).T @ (np.array([11.5, 10.5, 9.5]) * (1.9, 1.7, 1.3))
    target = Geometry((20, 22, 24), tuple(middle), (1.3, 1.7, 1.9), direction)  # type: ignore[arg-type]  # 3 x 3
    whole = volume_onto(mask.astype(np.float32), GRID, target, Interpolation.NEAREST) > 0.5
    np.testing.assert_array_equal(mask_onto(mask, GRID, target), whole)
    assert whole.any()


def test_an_empty_mask_stays_empty() -> None:
    assert not mask_onto(np.zeros(GRID.shape, dtype=np.bool_), GRID, isotropic(GRID, 4.0)).any()


def test_isotropic_covers_the_field_and_no_more() -> None:
    cubes = isotropic(GRID, 4.0)
    assert cubes.shape == (4, 4, 5)
    assert cubes.spacing_mm == (4.0, 4.0, 4.0)
    assert cubes.origin_mm == GRID.origin_mm


def test_a_cropped_grid_keeps_its_place() -> None:
    tilted = replace(GRID, direction=TILTED)
    box = (slice(1, 4), slice(2, 8), slice(3, 9))
    np.testing.assert_allclose(positions(cropped(tilted, box)), positions(tilted)[:, *box])


def test_bounding_box_stays_in_the_array() -> None:
    mask = np.zeros((4, 5, 6), dtype=np.bool_)
    mask[1:3, 4, 0] = True
    assert bounding_box(mask) == (slice(1, 3), slice(4, 5), slice(0, 1))
    assert bounding_box(mask, 2) == (slice(0, 4), slice(2, 5), slice(0, 3))
