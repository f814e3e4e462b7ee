"""Propose lung lesions on FDG PET/CT, for a study without a stored ROI. Pure.

Hot regions are grown from local maxima at rising thresholds until enough of the region lies in the closed lung field, and
kept when they touch aerated lung and are made of tissue. All of it on a grid of 4 mm cubes in PET space.

A proposal is no segmentation by a reader: it is marked as proposed wherever it appears. What it finds and misses is
measured on phantoms (``tests/inference/roi/test_propose_pet.py``), which are easier than patients.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import FloatVolume, Geometry, Mask, Unit, Volume
from inference.imaging.lung_field import distance_to, find_lung_field
from inference.imaging.resample import Interpolation, bounding_box, cropped, isotropic, mask_onto, volume_onto

GRID_MM = 4.0
VOXEL_ML = GRID_MM**3 / 1000.0
FRACTIONS = (0.41, 0.51, 0.61, 0.71)  # of the seed's SUV; 41 % is the EANM contour
SEED_SUV = 2.5
LEAST_SUV = 1.0
BACKGROUND_HU = -600.0  # aerated lung that gives the background uptake
TISSUE_HU = -400.0
SEEDS_WITHIN = 2.0  # voxels (8 mm) of the closed lung field
CUT_BEYOND = 4.0  # voxels (16 mm): a mediastinal mass reaches beyond the closed field, a leak further
SCENE_MARGIN = 6  # voxels about the field that are looked at; a leak that long is no lesion
CONTACT_WITHIN = 2.0  # voxels of aerated lung
FIELD_SHARE = 0.30  # of a region's voxels in the closed lung field
CONTACT_SHARE = 0.15  # of its surface voxels near aerated lung
TISSUE_SHARE = 0.30  # of its voxels that are tissue on CT
LEAST_ML = 0.4
MOST_OVERLAP = 0.30  # with regions found before
KEEP = 5

_sitk: Any = SimpleITK  # its functions carry no types


@dataclass(frozen=True, eq=False)
class ProposedRoi:
    """A proposed lesion.

    ``mask`` is bool ``[z, y, x]`` on ``geometry`` (4 mm cubes in PET space). ``fraction`` of ``seed_suv`` (g/ml) is the
    threshold it was grown at; ``tlg_g`` = mean SUV x ml on this grid ranks the proposals; ``parts`` counts the hot spots
    that were joined into it.
    """

    mask: Mask
    geometry: Geometry
    fraction: float
    seed_suv: float
    field_share: float
    volume_ml: float
    tlg_g: float
    parts: int = 1

    def on(self, target: Geometry) -> Mask:
        """Return the mask on another grid, by nearest neighbour."""
        return mask_onto(self.mask, self.geometry, target)

    @property
    def description(self) -> str:
        """How it was found, for the report."""
        joined = f", joined from {self.parts} hot spots that touch" if self.parts > 1 else ""
        return f"PET above {self.fraction:.0%} of SUV {self.seed_suv:.1f} in the lung field{joined}"


class Rejection(StrEnum):
    """Why a hot spot is not proposed."""

    OUTSIDE_FIELD = "mostly outside the lung field"
    NO_CONTACT = "not beside aerated lung"
    NO_TISSUE = "not tissue on CT"
    TOO_SMALL = f"smaller than {LEAST_ML} ml"
    COUNTED_BEFORE = "part of another"


def propose_lesions(pet_suv: Volume, ct: Volume) -> tuple[ProposedRoi, ...]:
    """Return up to five proposed lesions, the one of highest TLG (the primary) first.

    Parameters
    ----------
    pet_suv
        SUVbw, g/ml
    ct
        HU, in the same frame of reference; on its own grid

    Raises
    ------
    StudyRefusedError
        ``NO_LUNG_FIELD``; ``NO_ROI`` with what was seen
    """
    if pet_suv.unit is not Unit.SUVBW:
        raise ValueError(f"lesions are proposed on SUVbw, not on {pet_suv.unit}")
    scene = _Scene.of(pet_suv, ct)
    seeds = scene.seeds()
    found: list[ProposedRoi] = []
    rejected: Counter[Rejection] = Counter()
    used = np.zeros(scene.suv.shape, dtype=np.bool_)
    for seed in seeds:
        if used[seed]:
            continue
        region = scene.grow(seed, used)
        if isinstance(region, Rejection):
            rejected[region] += 1
            continue
        used |= region.mask
        found = scene.joined(found, region)
    if not found:
        raise StudyRefusedError(RefusalCode.NO_ROI, scene.nothing_found(seeds, rejected))
    return tuple(sorted(found, key=lambda roi: -roi.tlg_g)[:KEEP])


Seed = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _Scene:
    """What the search looks at, ``[z, y, x]`` on the 4 mm grid about the lungs."""

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
    def of(pet: Volume, ct: Volume) -> _Scene:
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
        return _Scene(
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
        peaks = np.argwhere(inside & (smooth == ndimage.maximum_filter(smooth, 5)) & (hottest >= SEED_SUV))
        order = np.argsort(-smooth[tuple(peaks.T)], kind="stable")
        return [(int(z), int(y), int(x)) for z, y, x in peaks[order]]

    def grow(self, seed: Seed, used: Mask) -> ProposedRoi | Rejection:
        """Return the lesion of this seed, without voxels used before."""
        top, seed_suv = self._hottest_near(seed)
        for fraction in FRACTIONS:
            region = self._above(max(fraction * seed_suv, self.floor_suv), top)
            if self._field_share(region) >= FIELD_SHARE:
                return self._judged(region, used, fraction, seed_suv)
        return Rejection.OUTSIDE_FIELD

    def joined(self, found: list[ProposedRoi], region: ProposedRoi) -> list[ProposedRoi]:
        """Add a region; the ones that it touches become one lesion with it where that is still plausible."""
        around = _box_mask_dilated(region.mask)
        for other in found:
            if (other.mask & around).any():
                union = other.mask | region.mask
                if self._implausible(union) is None:
                    hotter = max(other, region, key=lambda r: r.seed_suv)
                    whole = self._proposed(union, hotter.fraction, hotter.seed_suv)
                    rest = [roi for roi in found if roi is not other]
                    return self.joined(rest, replace(whole, parts=other.parts + region.parts))
        return [*found, region]

    def nothing_found(self, seeds: list[Seed], rejected: Counter[Rejection]) -> str:
        """Say what was seen where no lesion is proposed."""
        lungs_ml = float(self.lungs.sum()) * VOXEL_ML
        highest = float(self.suv[self.near_field].max())
        reasons = "; ".join(f"{count} {reason}" for reason, count in rejected.items())
        hot_spots = f"{len(seeds)} hot spots ({reasons})" if seeds else "no hot spot"
        return (
            f"no stored ROI, and no lesion to propose: lungs of {lungs_ml:.0f} ml, highest SUV in and beside them "
            f"{highest:.2f}, {hot_spots} at or above SUV {SEED_SUV:g}; send a SEG or RTSTRUCT of the tumour"
        )

    def _hottest_near(self, seed: Seed) -> tuple[Seed, float]:
        box = tuple(slice(max(i - 2, 0), i + 3) for i in seed)
        part = self.suv[box]
        z, y, x = (int(i) + s.start for i, s in zip(np.unravel_index(part.argmax(), part.shape), box, strict=True))
        return (z, y, x), float(self.suv[z, y, x])

    def _above(self, suv: float, seed: Seed) -> Mask:
        """Return the 6-connected component at or above a SUV that holds the seed; empty where the seed is below."""
        region = _sitk.ConnectedThreshold(self.image, [seed[::-1]], suv, float(np.finfo(np.float32).max))
        return np.asarray(_sitk.GetArrayViewFromImage(region)).astype(np.bool_)

    def _field_share(self, region: Mask) -> float:
        voxels = np.count_nonzero(region)
        return float(np.count_nonzero(region & self.closed) / voxels) if voxels else 0.0

    def _judged(self, region: Mask, used: Mask, fraction: float, seed_suv: float) -> ProposedRoi | Rejection:
        if (reason := self._implausible(region)) is not None:
            return reason
        whole = _holes_filled(region & self.cut)
        voxels = np.count_nonzero(whole)
        if voxels * VOXEL_ML < LEAST_ML:
            return Rejection.TOO_SMALL
        if np.count_nonzero(whole & used) > MOST_OVERLAP * voxels:
            return Rejection.COUNTED_BEFORE
        return self._proposed(whole & ~used, fraction, seed_suv)

    def _implausible(self, region: Mask) -> Rejection | None:
        """Tell why a region is no lesion of the lung, by its place and by what CT shows there."""
        box = bounding_box(region, 1)
        part = region[box]
        surface = part & ~ndimage.binary_erosion(part)
        if np.count_nonzero(surface & self.near_lung[box]) < CONTACT_SHARE * np.count_nonzero(surface):
            return Rejection.NO_CONTACT
        if np.count_nonzero(self.hu[region] > TISSUE_HU) < TISSUE_SHARE * np.count_nonzero(region):
            return Rejection.NO_TISSUE
        return None

    def _proposed(self, mask: Mask, fraction: float, seed_suv: float) -> ProposedRoi:
        mask.setflags(write=False)
        volume_ml = float(np.count_nonzero(mask)) * VOXEL_ML
        return ProposedRoi(
            mask=mask,
            geometry=self.geometry,
            fraction=fraction,
            seed_suv=seed_suv,
            field_share=self._field_share(mask),
            volume_ml=volume_ml,
            tlg_g=float(self.suv[mask].mean(dtype=np.float64)) * volume_ml,
        )


def _box_mask_dilated(mask: Mask) -> Mask:
    """Return the mask and its face neighbours."""
    grown = np.zeros_like(mask)
    box = bounding_box(mask, 1)
    grown[box] = ndimage.binary_dilation(mask[box])
    return grown


def _holes_filled(mask: Mask) -> Mask:
    """Return the mask with its cavities (necrosis) filled."""
    if not mask.any():
        return mask
    box = bounding_box(mask)
    filled: NDArray[np.bool_] = mask.copy()
    filled[box] = ndimage.binary_fill_holes(mask[box])
    return filled
