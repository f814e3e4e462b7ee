"""The inside of polygons at pixel centres, by the even-odd rule. Pure.

Written here because the polygon fills of scikit-image and matplotlib test every pixel against every edge: seconds for a
contour of 10,000 points. Both are the oracles of the tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from egfr_dls.volume import Mask

TIE_PIXELS = 1e-6  # moves outlines off pixel centres, so that a centre on an edge belongs to one side only
MOST_CROSSINGS = 20_000_000  # of edges with rows of pixels, about 1 GB; a contour drawn in an image has a few thousand


class TooManyCrossingsError(ValueError):
    """The outline is no contour that anybody drew in this image."""


def flip_inside(image: Mask, outline: NDArray[np.float64]) -> None:
    """Exclusive-or the inside of a polygon into ``image``, bool ``[rows, columns]``.

    Parameters
    ----------
    outline
        float64 ``[point, 2]``, (row, column), finite; pixel centres are at whole numbers; the last point joins the first

    Raises
    ------
    TooManyCrossingsError
        its edges cross more than ``MOST_CROSSINGS`` rows
    """
    rows, columns = image.shape
    corners = outline + TIE_PIXELS
    following = np.roll(corners, -1, axis=0)
    upward = (corners[:, 0] <= following[:, 0])[:, None]
    # An edge crosses the rows from its low end to below its high one; so taken, it meets itself where it goes back.
    low, high = np.where(upward, corners, following), np.where(upward, following, corners)
    first = np.clip(np.ceil(low[:, 0]), 0, rows).astype(np.int64)
    count = np.clip(np.ceil(high[:, 0]), 0, rows).astype(np.int64) - first
    if (crossings := int(count.sum())) > MOST_CROSSINGS:
        raise TooManyCrossingsError(f"crosses {crossings} rows of pixels, at most {MOST_CROSSINGS} are filled")
    if not crossings:
        return
    edge = np.repeat(np.arange(len(low)), count)
    row = first[edge] + np.arange(crossings) - np.repeat(np.cumsum(count) - count, count)
    share = (row - low[edge, 0]) / (high[edge, 0] - low[edge, 0])
    column = low[edge, 1] + share * (high[edge, 1] - low[edge, 1])
    entered = np.clip(np.ceil(column), 0, columns).astype(np.int64)  # the first pixel centre right of the edge
    top, bottom = int(row.min()), int(row.max()) + 1
    times = np.bincount((row - top) * (columns + 1) + entered, minlength=(bottom - top) * (columns + 1))
    odd = np.cumsum(times.reshape(-1, columns + 1), axis=1)[:, :columns] % 2
    image[top:bottom] ^= odd.astype(np.bool_)
