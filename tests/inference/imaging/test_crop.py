"""The square lies where the lesion is, in mm, and its pixels are those of the slice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.imaging.crop import Extent, Source, lesion_extent, overlap, padded_fraction, sample_square, window

PIXEL_MM = (0.8, 0.8)


def _source(pixels: np.ndarray, fill: float = -1000.0) -> Source:
    pixels = pixels.astype(np.float32)
    return Source(pixels, np.zeros(pixels.shape, np.bool_), fill)


def test_the_extent_reaches_from_edge_to_edge() -> None:
    """Three pixels of 2 mm are 6 mm wide, not 4."""
    mask = np.zeros((10, 10), np.bool_)
    mask[4:7, 2:4] = True
    extent = lesion_extent(mask, (2.0, 1.0))
    assert extent == Extent(7.0, 13.0, 1.5, 3.5)
    assert extent.longest_mm == 6.0
    assert lesion_extent(np.zeros_like(mask), (2.0, 1.0)) is None


def test_the_square_has_the_margin_along_the_longest_side() -> None:
    """Side = longest + 2 margins, about the same centre."""
    square = Extent(7.0, 13.0, 1.5, 3.5).square(15.0)
    assert square == Extent(-8.0, 28.0, -15.5, 20.5)
    assert square.clearance_mm(Extent(7.0, 13.0, 1.5, 3.5)) == 15.0


def test_a_linear_ramp_is_sampled_exactly() -> None:
    """A cubic spline reproduces a plane: each sample lies at origin + (i + 0.5) side / size, in mm."""
    rows, columns = np.mgrid[:100, :120].astype(np.float64)
    box = Extent(20.0, 52.0, 30.0, 62.0)
    plane = 3 * rows * 0.8 + 7 * columns * 0.8
    sampled = sample_square(_source(plane), box, PIXEL_MM, 128)
    steps = (np.arange(128) + 0.5) * 32.0 / 128
    wanted = 3 * (20.0 + steps)[:, None] + 7 * (30.0 + steps)[None, :]
    in_the_box = plane[25:66, 38:78]  # the corners beyond the outermost pixel centres are clipped to its range
    wanted = np.clip(wanted, in_the_box.min(), in_the_box.max())
    np.testing.assert_allclose(sampled, wanted, atol=2e-3)  # the slice itself is float32


def test_anisotropic_pixels_keep_the_square_square_in_mm() -> None:
    """Rows of 2 mm and columns of 0.5 mm: a disc stays a disc."""
    rows, columns = np.mgrid[:60, :240].astype(np.float64)
    disc = np.exp(-(((rows * 2.0 - 60.0) ** 2 + (columns * 0.5 - 60.0) ** 2) / 200.0))
    sampled = sample_square(_source(disc), Extent(40.0, 80.0, 40.0, 80.0), (2.0, 0.5), 64)
    np.testing.assert_allclose(sampled, sampled.T, atol=2e-3)


@given(st.integers(0, 2**32 - 1))
def test_the_spline_never_leaves_the_range_of_its_pixels(seed: int) -> None:
    """No overshoot beside a hard edge."""
    pixels = np.where(np.random.default_rng(seed).random((40, 40)) > 0.5, 400.0, -900.0)
    sampled = sample_square(_source(pixels), Extent(5.0, 25.0, 5.0, 25.0), PIXEL_MM, 128)
    assert sampled.min() >= -900.0
    assert sampled.max() <= 400.0


def test_a_distant_bright_pixel_does_not_reach_the_box() -> None:
    """The clip range is that of the box, so metal outside changes nothing in it."""
    pixels = np.zeros((60, 60))
    pixels[:, 40:] = 3000.0
    sampled = sample_square(_source(pixels), Extent(8.0, 24.0, 8.0, 24.0), PIXEL_MM, 64)
    assert np.abs(sampled).max() < 1e-6


@pytest.mark.parametrize("shift_mm", [-30.0, 30.0, -400.0])
def test_outside_the_image_is_air(shift_mm: float) -> None:
    """CT -1000 HU beyond each edge; the padded share says how much."""
    source = _source(np.full((50, 50), 40.0))
    box = Extent(shift_mm, shift_mm + 40.0, 0.0, 40.0)
    sampled = sample_square(source, box, PIXEL_MM, 64)
    share = padded_fraction(source.absent, box, PIXEL_MM)
    assert sampled.min() == -1000.0
    assert 0.5 < share <= 1.0
    assert (sampled.max() == 40.0) == (share < 1.0)


def test_absent_pixels_are_filled_before_they_can_ruin_the_range() -> None:
    """-3024 outside the scan circle becomes air and is counted."""
    pixels = np.full((50, 50), 40.0, np.float32)
    pixels[:, :10] = -3024.0
    source = Source(pixels, pixels < -1024, -1000.0)
    box = Extent(0.0, 32.0, -0.4, 31.6)
    assert sample_square(source, box, PIXEL_MM, 64).min() == -1000.0
    assert padded_fraction(source.absent, box, PIXEL_MM) == pytest.approx(10 / 40)


@given(*[st.integers(-20, 30)] * 2, *[st.integers(1, 25)] * 2)
def test_a_window_agrees_with_the_image_wherever_both_are(row: int, column: int, height: int, width: int) -> None:
    """Windows inside, across and beyond the image hold its pixels and the fill value."""
    image = np.arange(100, dtype=np.float64).reshape(10, 10)
    bounds = (row, column, row + height, column + width)
    padded = np.pad(image, 60, constant_values=-1.0)
    wanted = padded[row + 60 : row + 60 + height, column + 60 : column + 60 + width]
    assert np.array_equal(window(_source(image, -1.0), bounds), wanted)
    theirs, ours = overlap(image.shape, bounds)
    assert image[theirs].shape == window(_source(image), bounds)[ours].shape
