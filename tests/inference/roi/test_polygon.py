"""The inside of polygons against independent fills, and what is refused before it takes memory."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from inference.roi import polygon
from inference.roi.polygon import TooManyCrossingsError, flip_inside

SHAPE = (12, 17)
# Corners in and around the image, off the pixel centres, where the two rules may differ.
coordinates = st.floats(-6, 22, allow_nan=False).map(lambda v: round(v, 2) + 0.005137)
outlines = st.integers(3, 14).flatmap(lambda n: arrays(np.float64, (n, 2), elements=coordinates))


def inside(outline: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Cast a ray from every pixel centre to the left and count the edges that it meets."""
    rows, columns = np.indices(SHAPE)
    y, x = rows.ravel().astype(float), columns.ravel().astype(float)
    crossings = np.zeros(y.size, dtype=int)
    for (y0, x0), (y1, x1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            meets = (np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1))
            crossings += meets & (x > x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return (crossings % 2 == 1).reshape(SHAPE)


@given(outlines)
def test_random_polygons_equal_ray_casting(outline: NDArray[np.float64]) -> None:
    image = np.zeros(SHAPE, dtype=np.bool_)
    flip_inside(image, outline)
    for centre in np.argwhere(image ^ inside(outline)):  # only centres on an edge may differ
        assert _distance(centre, outline) < 1e-4


@st.composite
def stars(draw: st.DrawFn) -> NDArray[np.float64]:
    """A polygon that does not cross itself: corners at growing angles about a centre."""
    n = draw(st.integers(3, 20))
    turns = np.sort(draw(arrays(np.float64, n, elements=st.floats(0, 6.28), unique=True)))
    radii = draw(arrays(np.float64, n, elements=st.floats(0.5, 8)))
    centre = draw(arrays(np.float64, 2, elements=st.floats(0, 16)))
    return centre + 0.00137 + radii[:, None] * np.column_stack([np.sin(turns), np.cos(turns)])


@given(stars(), stars())
def test_a_polygon_with_a_hole_equals_matplotlib(outer: NDArray[np.float64], hole: NDArray[np.float64]) -> None:
    """Wherever the hole lies: what both hold is cut out of either."""
    image = np.zeros(SHAPE, dtype=np.bool_)
    for outline in (outer, hole):
        flip_inside(image, outline)
    centres = np.stack(np.indices(SHAPE), axis=-1).reshape(-1, 2).astype(float)
    expected = Outline(outer).contains_points(centres) ^ Outline(hole).contains_points(centres)
    for centre in centres[image.ravel() ^ expected]:  # only centres on an edge may differ
        assert min(_distance(centre, outer), _distance(centre, hole)) < 1e-4


def _distance(point: NDArray[np.float64], outline: NDArray[np.float64]) -> float:
    start, end = outline, np.roll(outline, -1, axis=0)
    along = end - start
    share = np.clip(((point - start) * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), 1e-12), 0, 1)
    return float(np.linalg.norm(start + share[:, None] * along - point, axis=1).min())


@pytest.mark.parametrize(
    "outline",
    [[(2, 2), (2, 9), (2, 5)], [(2, 2), (9, 9), (5, 5)], [(3, 3), (3, 3), (3, 3)], [(-9, -9), (-9, -5), (-5, -9)]],
    ids=["a line in a row", "a slanted line", "a point", "outside"],
)
def test_what_has_no_area_in_the_image_holds_no_pixel(outline: list[tuple[float, float]]) -> None:
    image = np.zeros(SHAPE, dtype=np.bool_)
    flip_inside(image, np.array(outline, dtype=float))
    assert not image.any()


def test_a_million_points_are_filled_in_seconds_and_hostile_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    circle = 256 + 200 * np.column_stack([np.sin(turns), np.cos(turns)])
    image = np.zeros((512, 512), dtype=np.bool_)
    began = time.process_time()
    flip_inside(image, circle)
    assert time.process_time() - began < 10
    assert image.sum() == pytest.approx(np.pi * 200**2, rel=1e-3)
    monkeypatch.setattr(polygon, "MOST_CROSSINGS", 100_000)
    zigzag = np.column_stack([np.tile([0.0, 511.0], 500), np.linspace(0, 511, 1000)])
    with pytest.raises(TooManyCrossingsError, match="at most 100000"):
        flip_inside(image, zigzag)
