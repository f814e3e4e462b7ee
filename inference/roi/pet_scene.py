"""What the search for lesions looks at: PET and CT about the lungs in cubes of 4 mm, and the hot regions in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK
from scipy import ndimage

from egfr_dls.volume import FloatVolume, Geometry, Mask, Volume
from inference.imaging.lung_field import distance_to, find_lung_field
from inference.imaging.resample import Interpolation, bounding_box, cropped, isotropic, volume_onto
from inference.roi.proposal_rules import (
    BACKGROUND_HU,
    CONTACT_WITHIN,
    CUT_BEYOND,
    FIELD_SHARE,
    FRACTIONS,
    GRID_MM,
    IN_LUNG_CUBE,
    IN_LUNG_SHARE,
    LEAST_SUV,
    SCENE_MARGIN,
    SEED_SUV,
    SEED_SUV_IN_LUNG,
    SEEDS_WITHIN,
)

_sitk: Any = SimpleITK  # its functions carry no types
Seed = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PetScene:
    """The search grid about the lungs; arrays ``[z, y, x]``.

    ``closed`` is the lungs without the disease in them, ``cut`` the zone in which a region counts, ``floor_suv`` what
    every region lies above.
    """

    geometry: Geometry
    suv: FloatVolume
    hu: FloatVolume
    image: Any  # SimpleITK image of ``suv``, for flood fills
    lungs: Mask
    closed: Mask
    near_field: Mask
    cut: Mask
    near_lung: Mask
    floor_suv: float

    @staticmethod
    def of(pet: Volume, ct: Volume) -> PetScene:
        """Look at a study; raise ``NO_LUNG_FIELD`` where the CT shows no lung."""
        whole = isotropic(pet.geometry, GRID_MM)
        suv = volume_onto(pet.voxels, pet.geometry, whole, Interpolation.LINEAR)
        hu = volume_onto(ct.voxels, ct.geometry, whole, Interpolation.LINEAR, outside=-1000.0)
        field = find_lung_field(hu, GRID_MM)
        box = bounding_box(field.closed, SCENE_MARGIN)  # the rest of the body only costs time
        suv, hu, lungs, closed = suv[box], hu[box], field.lungs[box], field.closed[box]
        to_field = distance_to(closed, SCENE_MARGIN)
        background = suv[lungs & (hu < BACKGROUND_HU)]
        median = float(np.median(background)) if background.size else 0.0
        robust_sd = 1.4826 * float(np.median(np.abs(background - median))) if background.size else 0.0
        return PetScene(
            geometry=cropped(whole, box),
            suv=suv,
            hu=hu,
            image=_sitk.GetImageFromArray(suv),
            lungs=lungs,
            closed=closed,
            near_field=to_field <= SEEDS_WITHIN,
            cut=to_field <= CUT_BEYOND,
            near_lung=distance_to(lungs, SCENE_MARGIN) <= CONTACT_WITHIN,
            floor_suv=max(median + 3.0 * robust_sd, LEAST_SUV),
        )

    def seeds(self) -> list[Seed]:
        """Return the local maxima of the smoothed PET in and near the lung field, hottest first.

        Maxima of the field alone: a mass whose hottest point lies beyond the field has its seed on the border.
        """
        inside = self.near_field
        smooth = np.where(inside, ndimage.gaussian_filter(self.suv, 1.0), -np.inf)
        hottest = ndimage.maximum_filter(self.suv, 5)
        aerated = ndimage.uniform_filter(self.lungs.astype(np.float32), IN_LUNG_CUBE)
        needed = np.where(aerated >= IN_LUNG_SHARE, SEED_SUV_IN_LUNG, SEED_SUV)
        peaks = np.argwhere(inside & (smooth == ndimage.maximum_filter(smooth, 5)) & (hottest >= needed))
        order = np.argsort(-smooth[tuple(peaks.T)], kind="stable")
        return [(int(z), int(y), int(x)) for z, y, x in peaks[order]]

    def grow(self, seed: Seed) -> tuple[Mask, float, float] | None:
        """Return the region of a seed with its fraction and the seed's SUV; None where it lies mostly outside the field."""
        top, seed_suv = self._hottest_near(seed)
        for fraction in FRACTIONS:
            region = self._above(max(fraction * seed_suv, self.floor_suv), top)
            if self.field_share(region) >= FIELD_SHARE:
                return region, fraction, seed_suv
        return None

    def field_share(self, region: Mask) -> float:
        """Return the share of a region's voxels that lie in the closed lung field."""
        voxels = np.count_nonzero(region)
        return float(np.count_nonzero(region & self.closed) / voxels) if voxels else 0.0

    def _hottest_near(self, seed: Seed) -> tuple[Seed, float]:
        box = tuple(slice(max(i - 2, 0), i + 3) for i in seed)
        part = self.suv[box]
        z, y, x = (int(i) + s.start for i, s in zip(np.unravel_index(part.argmax(), part.shape), box, strict=True))
        return (z, y, x), float(self.suv[z, y, x])

    def _above(self, suv: float, seed: Seed) -> Mask:
        """Return the 6-connected component at or above a SUV that holds the seed; empty where the seed is below."""
        region = _sitk.ConnectedThreshold(self.image, [seed[::-1]], suv, float(np.finfo(np.float32).max))
        return np.asarray(_sitk.GetArrayViewFromImage(region)).astype(np.bool_)
