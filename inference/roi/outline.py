"""The outline of a hot region in cubes of 2 mm: PET decides where it ends against tissue, CT where it ends against air. Pure.

The search grid's cubes and its threshold of the hottest voxel are right for finding; as an outline they are coarse, too
wide for small lesions and too narrow for uneven ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from egfr_dls.volume import FloatVolume, Geometry, Mask, Volume
from inference.imaging.resample import (
    Interpolation,
    bounding_box,
    box_around,
    cropped,
    isotropic,
    mask_onto,
    volume_onto,
)
from inference.roi.proposal_rules import (
    BACKGROUND_HU,
    BACKGROUND_SHELL_MM,
    CONTRAST_FRACTION,
    CUT_LEAVES,
    GROWS_MM,
    LEAST_SUV,
    MOST_SUV,
    OUTLINE_MARGIN,
    OUTLINE_MM,
    PLATEAU_QUANTILE,
    TISSUE_HU,
)

AIR_HU = -1000.0
LEAST_SHELL = 50  # voxels (0.4 ml) that make a background


@dataclass(frozen=True, eq=False)
class Outline:
    """A region's outline and what stands beside it.

    ``mask`` is bool ``[z, y, x]`` on ``geometry`` (cubes of 2 mm), as are ``suv`` (g/ml) and ``hu``. ``plateau_suv`` is
    the region's, ``background_suv`` that of the tissue about it (of the lung, where there is no tissue).
    """

    mask: Mask
    geometry: Geometry
    suv: FloatVolume
    hu: FloatVolume
    plateau_suv: float
    background_suv: float
    threshold_suv: float


def outline(region: Mask, others: Mask, grid: Geometry, pet_suv: Volume, ct: Volume) -> Outline:
    """Outline a region of the search grid; voxels of ``others`` are left to them."""
    fine = isotropic(cropped(grid, bounding_box(region, OUTLINE_MARGIN)), OUTLINE_MM)
    suv = _near(pet_suv, fine, 0.0)
    hu = _near(ct, fine, AIR_HU)
    core = mask_onto(region, grid, fine)
    distance_mm = ndimage.distance_transform_edt(~core, sampling=OUTLINE_MM)
    plateau = float(np.quantile(suv[core], PLATEAU_QUANTILE))
    background = _background(suv, hu, distance_mm)
    threshold = max(min(background + CONTRAST_FRACTION * (plateau - background), MOST_SUV), LEAST_SUV)
    hot = (suv >= threshold) & (distance_mm <= GROWS_MM) & ~mask_onto(others, grid, fine)
    mask = _without_air(_touching(hot, core), hu)
    return Outline(mask, fine, suv, hu, plateau, background, threshold)


def _near(volume: Volume, fine: Geometry, outside: float) -> FloatVolume:
    """Return a volume on a small grid; only its part near that grid is looked at."""
    box = box_around(fine, volume.geometry, margin=1)
    if any(s.stop <= s.start for s in box):
        return np.full(fine.shape, outside, dtype=np.float32)
    return volume_onto(volume.voxels[box], cropped(volume.geometry, box), fine, Interpolation.LINEAR, outside)


def _background(suv: FloatVolume, hu: FloatVolume, distance_mm: FloatVolume) -> float:
    """Return the median SUV of the tissue about a region; of the aerated lung, where there is hardly any."""
    near, far = BACKGROUND_SHELL_MM
    shell = (distance_mm > near) & (distance_mm <= far)
    for place in (hu > TISSUE_HU, hu < BACKGROUND_HU):
        if np.count_nonzero(shell & place) > LEAST_SHELL:
            return float(np.median(suv[shell & place]))
    return 0.0


def _without_air(hot: Mask, hu: FloatVolume) -> Mask:
    """Return what of a region is tissue on CT: no lung that blur or breathing lit up, but bubbles and cavities inside."""
    tissue = ndimage.binary_closing(np.pad(hu > TISSUE_HU, 1), iterations=1)[1:-1, 1:-1, 1:-1]
    kept = hot & tissue
    if np.count_nonzero(kept) < CUT_LEAVES * np.count_nonzero(hot):
        kept = hot
    opened = ndimage.binary_opening(kept)
    whole = (
        opened if opened.any() else kept
    )  # a thread of tissue (vessel, pleura) is no lesion, a small lesion is no thread
    filled: Mask = ndimage.binary_fill_holes(_largest(whole))
    return filled


def _touching(mask: Mask, core: Mask) -> Mask:
    """Return the components of a mask that share a voxel with the core."""
    labels, _ = ndimage.label(mask)
    held = np.unique(labels[core & mask])
    return np.isin(labels, held[held > 0])


def _largest(mask: Mask) -> Mask:
    labels, found = ndimage.label(mask)
    if found < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Mask = labels == sizes.argmax()
    return largest
