"""The square about a lesion: where it lies on a slice, and its pixels on the network's grid.

In-plane positions are ``(row, column)`` mm from the centre of pixel ``[0, 0]`` of the slice, so a pixel ``i`` covers
``(i - 0.5) d .. (i + 0.5) d`` for a spacing of ``d`` mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from egfr_dls.volume import Mask
from inference.imaging.normalize import Image

# Pixels around the box that the B-spline prefilter sees: its pole of sqrt(3) - 2 has decayed to 1e-7 there.
SPLINE_REACH = 12


@dataclass(frozen=True)
class Extent:
    """A rectangle on a slice, mm: pixel edges, not pixel centres."""

    row0_mm: float
    row1_mm: float
    column0_mm: float
    column1_mm: float

    @property
    def longest_mm(self) -> float:
        """The longer of height and width."""
        return max(self.row1_mm - self.row0_mm, self.column1_mm - self.column0_mm)

    def clearance_mm(self, inner: Extent) -> float:
        """Return the least distance from ``inner`` to this rectangle's edge; negative where it sticks out."""
        return min(
            inner.row0_mm - self.row0_mm,
            self.row1_mm - inner.row1_mm,
            inner.column0_mm - self.column0_mm,
            self.column1_mm - inner.column1_mm,
        )

    def square(self, margin_mm: float) -> Extent:
        """Return the square about this rectangle's centre: its longest side and a margin on both ends."""
        half = self.longest_mm / 2 + margin_mm
        row, column = (self.row0_mm + self.row1_mm) / 2, (self.column0_mm + self.column1_mm) / 2
        return Extent(row - half, row + half, column - half, column + half)

    def in_pixels(self, pixel_mm: tuple[float, float]) -> tuple[int, int, int, int]:
        """Return ``row0, column0, row1, column1`` of the pixels that overlap it, the ends excluded."""
        row0, row1 = _overlapping(self.row0_mm, self.row1_mm, pixel_mm[0])
        column0, column1 = _overlapping(self.column0_mm, self.column1_mm, pixel_mm[1])
        return row0, column0, row1, column1


def lesion_extent(mask: Mask, pixel_mm: tuple[float, float]) -> Extent | None:
    """Return the bounding box of a mask ``[rows, columns]``, or None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    (dy, dx) = pixel_mm
    return Extent(
        (float(rows[0]) - 0.5) * dy,
        (float(rows[-1]) + 0.5) * dy,
        (float(columns[0]) - 0.5) * dx,
        (float(columns[-1]) + 0.5) * dx,
    )


@dataclass(frozen=True, eq=False)
class Source:
    """One slice to sample from.

    Parameters
    ----------
    pixels
        ``[rows, columns]`` in any unit
    absent
        true where the pixel holds no measurement; those become ``fill``
    fill
        the value outside the image and where ``absent`` (CT -1000 HU: air; PET 0)
    """

    pixels: NDArray[np.float32]
    absent: Mask
    fill: float


def sample_square(source: Source, box: Extent, pixel_mm: tuple[float, float], size: int) -> Image:
    """Return the box on ``[size, size]`` pixel centres ``origin + (i + 0.5) side / size``, cubic B-spline.

    Values are clipped to the range of the source pixels in the box, so the spline does not overshoot.
    """
    row0, column0, row1, column1 = box.in_pixels(pixel_mm)
    patch = window(source, (row0 - SPLINE_REACH, column0 - SPLINE_REACH, row1 + SPLINE_REACH, column1 + SPLINE_REACH))
    steps = (np.arange(size) + 0.5) / size
    rows = (box.row0_mm + steps * (box.row1_mm - box.row0_mm)) / pixel_mm[0] - row0 + SPLINE_REACH
    columns = (box.column0_mm + steps * (box.column1_mm - box.column0_mm)) / pixel_mm[1] - column0 + SPLINE_REACH
    grid = np.meshgrid(rows, columns, indexing="ij")
    inside = patch[SPLINE_REACH:-SPLINE_REACH, SPLINE_REACH:-SPLINE_REACH]
    sampled: Image = map_coordinates(patch, grid, order=3, mode="mirror")
    return np.clip(sampled, inside.min(), inside.max())


def window(source: Source, bounds: tuple[int, int, int, int]) -> Image:
    """Return pixels ``row0, column0, row1, column1`` (ends excluded), filled where outside the image or absent."""
    row0, column0, row1, column1 = bounds
    filled = np.full((row1 - row0, column1 - column0), source.fill)
    theirs, ours = overlap(source.pixels.shape, bounds)
    filled[ours] = np.where(source.absent[theirs], source.fill, source.pixels[theirs])
    return filled


def overlap(
    shape: tuple[int, ...], bounds: tuple[int, int, int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of ``bounds`` inside an image of ``shape``: as slices of the image, and of the window."""
    row0, column0, row1, column1 = bounds
    first = np.clip((row0, column0), 0, shape)
    last = np.maximum(np.clip((row1, column1), 0, shape), first)
    theirs = (slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1])))
    ours = (
        slice(int(first[0]) - row0, int(last[0]) - row0),
        slice(int(first[1]) - column0, int(last[1]) - column0),
    )
    return theirs, ours


def padded_fraction(absent: Mask, box: Extent, pixel_mm: tuple[float, float]) -> float:
    """Return the share of the box's pixels, 0..1, that lie outside the image or are ``absent``."""
    bounds = box.in_pixels(pixel_mm)
    missing = window(Source(absent.astype(np.float32), np.zeros_like(absent), 1.0), bounds)
    return float(missing.mean())


def _overlapping(low_mm: float, high_mm: float, spacing_mm: float) -> tuple[int, int]:
    # the small tolerance keeps a box that ends on a pixel edge from taking the next pixel by rounding
    first = int(np.floor(low_mm / spacing_mm + 0.5 + 1e-6))
    last = int(np.ceil(high_mm / spacing_mm - 0.5 - 1e-6))
    return first, max(last, first) + 1
