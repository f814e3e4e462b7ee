"""Which regions lie outside the chest, where no network of this product was trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from egfr_dls.errors import StudyRefusedError
from egfr_dls.study import RoiSource
from egfr_dls.volume import Volume
from inference.imaging.lung_field import find_lung_field
from inference.imaging.resample import Interpolation, isotropic, mask_onto, volume_onto
from inference.roi.region import Roi

GRID_MM = 4.0
AIR_HU = -1000.0


def labels_outside_chest(rois: Sequence[Roi], ct: Volume) -> frozenset[str]:
    """Return the labels of stored regions of which no slice lies at the height of the lungs.

    Proposed regions were searched for in the lung field and are never outside. A CT without lungs is not of the chest.
    """
    stored = [roi for roi in rois if roi.source is not RoiSource.PROPOSED]
    if not stored:
        return frozenset()
    grid = isotropic(ct.geometry, GRID_MM)
    try:
        lungs = find_lung_field(volume_onto(ct.voxels, ct.geometry, grid, Interpolation.LINEAR, AIR_HU), GRID_MM).lungs
    except StudyRefusedError:
        return frozenset(roi.label for roi in stored)
    heights = np.flatnonzero(lungs.any(axis=(1, 2)))
    low, high = heights[0], heights[-1]
    outside = set()
    for roi in stored:
        slices = np.flatnonzero(mask_onto(roi.mask, ct.geometry, grid).any(axis=(1, 2)))
        if not np.any((slices >= low) & (slices <= high)):
            outside.add(roi.label)
    return frozenset(outside)
