"""CT series to a volume in HU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import Mask, Unit, Volume
from inference.read.geometry import stack_of
from inference.read.header import number, text, where, written
from inference.read.pixels import require_bytes, stored_values
from inference.read.series import SeriesImages

# Nothing in a patient is below; scanners fill the corners outside the scan circle with such values.
LOWEST_HU = -1024.0


def read_ct(series: SeriesImages) -> Volume:
    """Return the series as float32 HU ``[z, y, x]``, ascending along the slice normal.

    ``padding`` is true where the stored value is PixelPaddingValue (0028,0120), up to PixelPaddingRangeLimit
    (0028,0121) where given, or the voxel is below -1024 HU.

    Raises
    ------
    StudyRefusedError
        ``GEOMETRY_MISMATCH``, ``PIXELS_UNREADABLE``
    """
    stack = stack_of(series)
    rescales = [_rescale(ds) for ds in stack.datasets]
    require_bytes(stack.datasets, stack.geometry.shape[1:])
    voxels = np.empty(stack.geometry.shape, np.float32)
    padding = np.empty(stack.geometry.shape, np.bool_)
    for z, (ds, (slope, intercept)) in enumerate(zip(stack.datasets, rescales, strict=True)):
        stored = stored_values(ds, (voxels.shape[1], voxels.shape[2]))
        with np.errstate(over="ignore"):  # what is not finite is refused by ``Stack.volume``
            voxels[z] = stored * slope + intercept
        padding[z] = _padded(ds, stored) | (voxels[z] < LOWEST_HU)
    padding.setflags(write=False)
    return stack.volume(series, voxels, Unit.HOUNSFIELD, padding)


def _rescale(ds: Dataset) -> tuple[float, float]:
    slope, intercept = number(ds, "RescaleSlope"), number(ds, "RescaleIntercept")
    for keyword, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if value is None or (keyword == "RescaleSlope" and value <= 0):
            raise StudyRefusedError(
                RefusalCode.PIXELS_UNREADABLE,
                f"{where(keyword)} is {written(ds, keyword) or 'missing'} in instance {text(ds, 'SOPInstanceUID')}. "
                "Needed: the number that makes stored values HU.",
            )
    return slope or 1.0, intercept or 0.0


def _padded(ds: Dataset, stored: NDArray[Any]) -> Mask:
    value = number(ds, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = number(ds, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return np.asarray((stored >= low) & (stored <= high))
