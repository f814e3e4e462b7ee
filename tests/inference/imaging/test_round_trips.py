"""Squares and class maps go from the patient to the network's grid and back, on grids of any orientation and spacing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from egfr_dls.volume import Geometry
from inference.imaging.crop import SPLINE_REACH, Extent, Source, lesion_extent, sample_square
from inference.imaging.saliency import map_onto
from tests.inference.motion import rotation

ROWS, COLUMNS = 90, 110
degrees = st.tuples(*[st.floats(-180, 180)] * 3)
places = st.tuples(*[st.floats(-500, 500)] * 3)
spacings = st.tuples(st.floats(0.7, 5.0), st.floats(0.5, 3.0), st.floats(0.5, 3.0))  # z, y, x
weights = st.tuples(*[st.floats(-3, 3)] * 3)


@st.composite
def grids(draw: st.DrawFn) -> Geometry:
    """A grid anywhere in the room, turned in any way."""
    turn = rotation(draw(degrees))
    direction = tuple(tuple(float(v) for v in axis) for axis in turn.T)
    return Geometry((5, ROWS, COLUMNS), draw(places), draw(spacings), direction)  # type: ignore[arg-type]  # 3 each


@st.composite
def masks(draw: st.DrawFn) -> tuple[NDArray[np.bool_], tuple[int, int, int, int]]:
    """A region on one slice, and its first and last row and column."""
    row, column = draw(st.integers(30, 50)), draw(st.integers(30, 70))
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    mask = np.zeros((ROWS, COLUMNS), np.bool_)
    mask[row : row + height, column : column + width] = True
    holes = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=4))
    for y, x in holes:  # only inside: the bounding box stays
        if y < height - 1 and x < width - 1:
            mask[row + y, column + x] = False
    return mask, (row, column, row + height - 1, column + width - 1)


def in_patient(grid: Geometry, z: float, row: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return LPS mm ``[..., 3]`` of positions in pixels, by PS3.3 C.7.6.2.1.1."""
    along_x, along_y, along_z = (np.array(axis) for axis in grid.direction)
    dz, dy, dx = grid.spacing_mm
    return (
        np.array(grid.origin_mm)
        + np.multiply.outer(column * dx, along_x)
        + np.multiply.outer(row * dy, along_y)
        + z * dz * along_z
    )


@given(masks(), st.floats(0.4, 3.0), st.floats(0.4, 3.0))
@settings(max_examples=60, deadline=None)
def test_a_region_comes_back_from_its_extent(
    region: tuple[NDArray[np.bool_], tuple[int, int, int, int]], dy: float, dx: float
) -> None:
    """The pixels that the extent overlaps are the bounding box of the mask, whatever the spacing."""
    mask, (row0, column0, row1, column1) = region
    extent = lesion_extent(mask, (dy, dx))
    assert extent is not None
    assert extent.in_pixels((dy, dx)) == (row0, column0, row1 + 1, column1 + 1)


@given(masks(), spacings, st.floats(0.0, 25.0))
@settings(max_examples=60, deadline=None)
def test_the_square_keeps_centre_and_margin(
    region: tuple[NDArray[np.bool_], tuple[int, int, int, int]], spacing: tuple[float, float, float], margin_mm: float
) -> None:
    """Square in mm on unequal pixels too; the margin lies along the longest extent, and more along the other."""
    extent = lesion_extent(region[0], spacing[1:])
    assert extent is not None
    square = extent.square(margin_mm)
    height, width = square.row1_mm - square.row0_mm, square.column1_mm - square.column0_mm
    np.testing.assert_allclose([height, width], extent.longest_mm + 2 * margin_mm)
    np.testing.assert_allclose(square.clearance_mm(extent), margin_mm, atol=1e-9)
    np.testing.assert_allclose(square.row0_mm + square.row1_mm, extent.row0_mm + extent.row1_mm)
    np.testing.assert_allclose(square.column0_mm + square.column1_mm, extent.column0_mm + extent.column1_mm)


@given(st.tuples(*[st.floats(-60, 60)] * 2), st.floats(1.0, 90.0), st.floats(0.4, 3.0), st.floats(0.4, 3.0))
@settings(max_examples=100, deadline=None)
def test_the_pixels_of_a_square_are_those_that_overlap_it(
    corner: tuple[float, float], side_mm: float, dy: float, dx: float
) -> None:
    """The first and last overlap it, the ones before and after do not; to a millionth of a pixel."""
    box = Extent(corner[0], corner[0] + side_mm, corner[1], corner[1] + side_mm)
    row0, column0, row1, column1 = box.in_pixels((dy, dx))
    for low, high, first, end, d in (
        (box.row0_mm, box.row1_mm, row0, row1, dy),
        (box.column0_mm, box.column1_mm, column0, column1, dx),
    ):
        slack = 2e-6 * d
        assert (first - 0.5) * d <= low + slack < (first + 0.5) * d + 2 * slack
        assert (end - 1.5) * d - 2 * slack < high - slack <= (end - 0.5) * d


@given(grids(), masks(), weights, st.sampled_from([64, 128]))
@settings(max_examples=40, deadline=None)
def test_each_sample_of_a_square_has_the_value_of_its_place_in_the_patient(
    grid: Geometry,
    region: tuple[NDArray[np.bool_], tuple[int, int, int, int]],
    slope: tuple[float, float, float],
    size: int,
) -> None:
    """A field that is linear in LPS mm is sampled as it is at ``corner + (i + 0.5) side / size``, to the patient and back."""
    z = 2
    _, dy, dx = grid.spacing_mm
    rows, columns = np.mgrid[:ROWS, :COLUMNS].astype(np.float64)
    field = in_patient(grid, z, rows, columns) @ np.array(slope)
    middle = field.mean()  # the slice is float32: the far place costs no digits
    extent = lesion_extent(region[0], (dy, dx))
    assert extent is not None
    box = extent.square(15.0)
    row0, column0, row1, column1 = box.in_pixels((dy, dx))
    reach = SPLINE_REACH
    if row0 < reach or column0 < reach or row1 > ROWS - reach or column1 > COLUMNS - reach:
        return  # what the spline reads lies partly outside the image: filled
    source = Source((field - middle).astype(np.float32), np.zeros((ROWS, COLUMNS), np.bool_), 0.0)
    steps = (np.arange(size) + 0.5) * (box.row1_mm - box.row0_mm) / size
    at = np.meshgrid((box.row0_mm + steps) / dy, (box.column0_mm + steps) / dx, indexing="ij")
    wanted = in_patient(grid, z, at[0], at[1]) @ np.array(slope) - middle
    inside = (field - middle)[row0:row1, column0:column1]
    wanted = np.clip(wanted, inside.min(), inside.max())
    np.testing.assert_allclose(sample_square(source, box, (dy, dx), size), wanted, atol=5e-3)


@given(st.integers(-12, 12), st.integers(-12, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_shift_by_whole_pixels_changes_no_sample(down: int, right: int, seed: int) -> None:
    """Image and region together."""
    pixels = np.random.default_rng(seed).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    absent = np.zeros((ROWS, COLUMNS), np.bool_)
    box = Extent(30.2, 54.2, 36.7, 60.7)
    moved = Extent(box.row0_mm + down, box.row1_mm + down, box.column0_mm + right, box.column1_mm + right)
    plain = sample_square(Source(pixels, absent, 0.0), box, (1.0, 1.0), 64)
    shifted = sample_square(Source(np.roll(pixels, (down, right), (0, 1)), absent, 0.0), moved, (1.0, 1.0), 64)
    np.testing.assert_allclose(shifted, plain, atol=1e-5)


@given(grids(), masks(), st.tuples(*[st.floats(-4, 4)] * 3), st.sampled_from([8, 5, 16]), st.integers(0, 15))
@settings(max_examples=60, deadline=None)
def test_each_pixel_of_a_map_has_the_value_of_its_place_in_the_square(
    grid: Geometry,
    region: tuple[NDArray[np.bool_], tuple[int, int, int, int]],
    plane: tuple[float, float, float],
    n: int,
    beyond: int,
) -> None:
    """Drawn pixels, carried to LPS mm and back into the square by its corner and edges there, agree with the cells of the map."""
    _, dy, dx = grid.spacing_mm
    extent = lesion_extent(region[0], (dy, dx))
    assert extent is not None
    box = extent.square(15.0)
    side_mm = box.row1_mm - box.row0_mm
    centres = (np.arange(n) + 0.5) / n
    cells = plane[0] + plane[1] * centres[:, None] + plane[2] * centres[None, :]
    row0, column0, row1, column1 = box.in_pixels((dy, dx))
    bounds = (row0 - beyond, column0 - beyond, row1 + beyond, column1 + beyond)
    drawn = map_onto(cells.astype(np.float32), box, (dy, dx), bounds)

    rows, columns = np.mgrid[bounds[0] : bounds[2], bounds[1] : bounds[3]].astype(np.float64)
    corner = in_patient(grid, 1, np.array(box.row0_mm / dy), np.array(box.column0_mm / dx))
    offset = in_patient(grid, 1, rows, columns) - corner
    down, right = offset @ np.array(grid.direction[1]) / side_mm, offset @ np.array(grid.direction[0]) / side_mm
    edge = 1e-9 * 500
    inside = (down > edge) & (down < 1 - edge) & (right > edge) & (right < 1 - edge)
    outside = (down < -edge) | (down > 1 + edge) | (right < -edge) | (right > 1 + edge)
    u, v = (np.clip(x, centres[0], centres[-1]) for x in (down, right))  # beyond the outermost centres the edge goes on
    np.testing.assert_allclose(drawn[inside], (plane[0] + plane[1] * u + plane[2] * v)[inside], atol=2e-4)
    assert not drawn[outside].any()
    assert inside.any()
