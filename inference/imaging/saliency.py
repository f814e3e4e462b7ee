"""Class activation maps: what spoke for either class, and where (docs/reference/science.md G).

A network's ``cam`` output is ``sum_k w[k, c] A_k + b[c]`` with the bias included; its spatial mean is the logit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from inference.imaging.crop import Extent

Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """What spoke for the positive class and for the other one: float32 ``[slices, h, w]``, never negative."""

    positive: Maps
    negative: Maps

    def scaled(self, largest: float) -> ClassMaps:
        """Return the maps divided by one number for the whole patient; unchanged where nothing spoke at all."""
        return self if largest == 0 else ClassMaps(self.positive / largest, self.negative / largest)


def class_maps(cam: NDArray[np.float32], bias: Sequence[float], class_index: int) -> ClassMaps:
    """Return the maps of a two-class ``cam`` ``[slices, 2, h, w]``.

    The bias is taken off before the ReLU: with it, a class favoured everywhere would light up everywhere.
    """
    evidence = np.maximum(cam - np.asarray(bias, np.float32)[None, :, None, None], 0.0)
    return ClassMaps(evidence[:, class_index], evidence[:, 1 - class_index])


def largest(maps: Iterable[ClassMaps]) -> float:
    """Return the maximum of both maps over all slices and lesions: the patient's common scale."""
    return max((float(max(m.positive.max(), m.negative.max())) for m in maps), default=0.0)


def map_onto(
    image: NDArray[np.float32], box: Extent, pixel_mm: tuple[float, float], bounds: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """Return a map ``[h, w]`` over its box, on the slice's pixels ``bounds`` (row0, column0, row1, column1, ends excluded).

    Bilinear with half-pixel centres; beyond the outermost centres the edge values go on; 0 outside the box.
    """
    shape = (bounds[2] - bounds[0], bounds[3] - bounds[1])
    drawn = np.zeros(shape, np.float32)
    rows = _positions(bounds[0], shape[0], pixel_mm[0], box.row0_mm, box.row1_mm) * image.shape[0] - 0.5
    columns = _positions(bounds[1], shape[1], pixel_mm[1], box.column0_mm, box.column1_mm) * image.shape[1] - 0.5
    inside = np.ix_(
        (rows >= -0.5) & (rows < image.shape[0] - 0.5), (columns >= -0.5) & (columns < image.shape[1] - 0.5)
    )
    grid = np.meshgrid(rows[inside[0].ravel()], columns[inside[1].ravel()], indexing="ij")
    drawn[inside] = map_coordinates(image, grid, order=1, mode="nearest")
    return drawn


def _positions(first: int, count: int, spacing_mm: float, low_mm: float, high_mm: float) -> NDArray[np.float64]:
    """Return where pixel centres lie in the box, 0 at its start and 1 at its end."""
    centres_mm = (first + np.arange(count, dtype=np.float64)) * spacing_mm
    positions: NDArray[np.float64] = (centres_mm - low_mm) / (high_mm - low_mm)
    return positions
