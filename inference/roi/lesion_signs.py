"""What an outline and its surroundings tell: a lesion, a node in the mediastinum, or an infiltrate. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from inference.roi.outline import Outline
from inference.roi.proposal_rules import (
    AIR_WITHIN_MM,
    AMONG_TISSUE,
    BACKGROUND_HU,
    HAZE_HU,
    HAZE_WITHIN_MM,
    HAZY_SHARE,
    LEAST_AIR_CONTACT,
    LEAST_CONTRAST,
    LEAST_ML,
    OUTLINE_MM,
    SEED_SUV,
    Rejection,
)


@dataclass(frozen=True)
class Signs:
    """The figures that decide.

    ``contrast``: plateau over background. ``air_contact``: share of the surface within 4 mm of aerated lung. ``haze``:
    share of what lies within 8 mm that is neither aerated lung nor tissue.
    """

    volume_ml: float
    contrast: float
    air_contact: float
    haze: float

    @property
    def hazy(self) -> bool:
        """Whether it fades out into lung of a density between lung and tissue, as an infiltrate does."""
        return self.haze >= HAZY_SHARE


def read_signs(drawn: Outline) -> Signs:
    """Measure an outline."""
    mask = drawn.mask
    surface = mask & ~ndimage.binary_erosion(mask)
    aerated = ndimage.binary_opening(drawn.hu < BACKGROUND_HU)  # not the rim of a vessel or the noise in tissue
    near_air = _within(aerated, AIR_WITHIN_MM)
    about = _within(mask, HAZE_WITHIN_MM) & ~mask
    low, high = HAZE_HU
    hazy = (drawn.hu > low) & (drawn.hu < high)
    return Signs(
        volume_ml=float(np.count_nonzero(mask)) * drawn.geometry.voxel_ml,
        contrast=drawn.plateau_suv / max(drawn.background_suv, 1e-6),
        air_contact=_share(near_air, surface),
        haze=_share(hazy, about),
    )


def unlike_a_lesion(signs: Signs, seed_suv: float) -> Rejection | None:
    """Tell why an outline is no lesion; None where it may be one."""
    if signs.volume_ml < LEAST_ML:
        return Rejection.TOO_SMALL
    if signs.air_contact < LEAST_AIR_CONTACT:
        return Rejection.NO_CONTACT
    if signs.air_contact < AMONG_TISSUE:
        if seed_suv < SEED_SUV:
            return Rejection.WEAK
        if signs.contrast < LEAST_CONTRAST:
            return Rejection.NO_CONTRAST
    return None


def _within(mask: np.ndarray, mm: float) -> np.ndarray:
    return ndimage.distance_transform_edt(~mask, sampling=OUTLINE_MM) <= mm if mask.any() else mask


def _share(of: np.ndarray, among: np.ndarray) -> float:
    voxels = np.count_nonzero(among)
    return float(np.count_nonzero(of & among) / voxels) if voxels else 0.0
