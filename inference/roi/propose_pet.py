"""Propose lung lesions on FDG PET/CT, for a study without a stored ROI. Pure.

Hot regions are grown from local maxima at rising thresholds until enough of the region lies in the closed lung field, kept
when they touch aerated lung and are made of tissue, joined where they touch, and outlined anew in cubes of 2 mm.

A proposal is no segmentation by a reader: it is marked as proposed wherever it appears. What it finds, misses and invents is
measured on phantoms, which are easier than patients (``python -m benchmarks.proposals``, docs/proposed-regions.md).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import Geometry, Mask, Unit, Volume
from inference.imaging.resample import bounding_box, mask_onto
from inference.roi.lesion_signs import read_signs, unlike_a_lesion
from inference.roi.outline import outline
from inference.roi.pet_scene import PetScene
from inference.roi.proposal_rules import (
    CONTACT_SHARE,
    KEEP,
    MOST_OVERLAP,
    SEED_SUV,
    SEED_SUV_IN_LUNG,
    TISSUE_HU,
    TISSUE_SHARE,
    VOXEL_ML,
    Rejection,
)


@dataclass(frozen=True, eq=False)
class ProposedRoi:
    """A proposed lesion.

    ``mask`` is bool ``[z, y, x]`` on ``geometry`` (cubes of 2 mm about it). It was found at ``fraction`` of ``seed_suv``
    (g/ml) and outlined at ``threshold_suv``; ``tlg_g`` = mean SUV x ml ranks the proposals; ``parts`` counts the hot
    spots that were joined into it; ``hazy``: it fades out as an infiltrate does, and was all there was to propose.
    """

    mask: Mask
    geometry: Geometry
    fraction: float
    seed_suv: float
    threshold_suv: float
    field_share: float
    volume_ml: float
    tlg_g: float
    parts: int = 1
    hazy: bool = False

    def on(self, target: Geometry) -> Mask:
        """Return the mask on another grid, by nearest neighbour."""
        return mask_onto(self.mask, self.geometry, target)

    @property
    def description(self) -> str:
        """How it was found, for the report."""
        joined = f", joined from {self.parts} hot spots that touch" if self.parts > 1 else ""
        fading = ", fading out as an infiltrate does" if self.hazy else ""
        return (
            f"PET above {self.fraction:.0%} of SUV {self.seed_suv:.1f} in the lung field{joined}, "
            f"outlined at SUV {self.threshold_suv:.1f} and by the tissue on CT{fading}"
        )


@dataclass(frozen=True)
class PassedOver:
    """A hot spot that is not proposed: where (LPS x, y, z in mm), its SUV (g/ml) and why."""

    position_mm: tuple[float, float, float]
    suv: float
    reason: Rejection


@dataclass(frozen=True, eq=False)
class LesionSearch:
    """What a search found, the lesion of highest TLG first, and what it passed over."""

    proposals: tuple[ProposedRoi, ...]
    passed_over: tuple[PassedOver, ...]
    lungs_ml: float
    highest_suv: float  # in and beside the lungs


@dataclass(frozen=True, eq=False)
class _Region:
    """A hot region on the search grid."""

    mask: Mask
    fraction: float
    seed_suv: float
    parts: int = 1


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
    search = search_lesions(pet_suv, ct)
    if not search.proposals:
        raise StudyRefusedError(RefusalCode.NO_ROI, _nothing_found(search))
    return search.proposals[:KEEP]


def search_lesions(pet_suv: Volume, ct: Volume) -> LesionSearch:
    """Return everything that could be proposed and what was passed over; arguments and refusals as ``propose_lesions``."""
    if pet_suv.unit is not Unit.SUVBW:
        raise ValueError(f"lesions are proposed on SUVbw, not on {pet_suv.unit}")
    scene = PetScene.of(pet_suv, ct)
    regions: list[_Region] = []
    passed_over: list[PassedOver] = []
    used = np.zeros(scene.suv.shape, dtype=np.bool_)
    for seed in scene.seeds():
        if used[seed]:
            continue
        region = _region(scene, seed, used)
        if isinstance(region, Rejection):
            passed_over.append(_passed_over(scene, seed, region))
            continue
        used |= region.mask
        regions = _joined(scene, regions, region)
    proposals: list[ProposedRoi] = []
    for region, judged in _solid_first([(r, _judged(scene, r, used, pet_suv, ct)) for r in regions]):
        if isinstance(judged, Rejection):
            passed_over.append(_passed_over(scene, _hottest(scene, region), judged))
        else:
            proposals.append(judged)
    return LesionSearch(
        proposals=tuple(sorted(proposals, key=lambda roi: -roi.tlg_g)),
        passed_over=tuple(passed_over),
        lungs_ml=float(np.count_nonzero(scene.lungs)) * VOXEL_ML,
        highest_suv=float(scene.suv[scene.near_field].max()),
    )


def _region(scene: PetScene, seed: tuple[int, int, int], used: Mask) -> _Region | Rejection:
    """Return the plausible region of a seed, without voxels used before."""
    grown = scene.grow(seed)
    if grown is None:
        return Rejection.OUTSIDE_FIELD
    region, fraction, seed_suv = grown
    if (reason := _implausible(scene, region)) is not None:
        return reason
    whole = _holes_filled(region & scene.cut)
    voxels = np.count_nonzero(whole)
    if np.count_nonzero(whole & used) > MOST_OVERLAP * voxels:
        return Rejection.COUNTED_BEFORE
    return _Region(whole & ~used, fraction, seed_suv)


def _joined(scene: PetScene, regions: list[_Region], region: _Region) -> list[_Region]:
    """Add a region; the ones that it touches become one lesion with it where that is still plausible."""
    around = _with_neighbours(region.mask)
    for other in regions:
        union = other.mask | region.mask
        if (other.mask & around).any() and _implausible(scene, union) is None:
            hotter = max(other, region, key=lambda r: r.seed_suv)
            rest = [r for r in regions if r is not other]
            return _joined(scene, rest, replace(hotter, mask=union, parts=other.parts + region.parts))
    return [*regions, region]


def _implausible(scene: PetScene, region: Mask) -> Rejection | None:
    """Tell why a region is no lesion of the lung, by its place and by what CT shows there."""
    box = bounding_box(region, 1)
    part = region[box]
    surface = part & ~ndimage.binary_erosion(part)
    if np.count_nonzero(surface & scene.near_lung[box]) < CONTACT_SHARE * np.count_nonzero(surface):
        return Rejection.NO_CONTACT
    if np.count_nonzero(scene.hu[region] > TISSUE_HU) < TISSUE_SHARE * np.count_nonzero(region):
        return Rejection.NO_TISSUE
    return None


def _judged(scene: PetScene, region: _Region, used: Mask, pet_suv: Volume, ct: Volume) -> ProposedRoi | Rejection:
    """Outline a region and tell what it is."""
    drawn = outline(region.mask, used & ~region.mask, scene.geometry, pet_suv, ct)
    signs = read_signs(drawn)
    if (reason := unlike_a_lesion(signs, region.seed_suv)) is not None:
        return reason
    drawn.mask.setflags(write=False)
    return ProposedRoi(
        mask=drawn.mask,
        geometry=drawn.geometry,
        fraction=region.fraction,
        seed_suv=region.seed_suv,
        threshold_suv=drawn.threshold_suv,
        field_share=scene.field_share(region.mask),
        volume_ml=signs.volume_ml,
        tlg_g=float(drawn.suv[drawn.mask].mean(dtype=np.float64)) * signs.volume_ml,
        parts=region.parts,
        hazy=signs.hazy,
    )


_Judged = tuple[_Region, ProposedRoi | Rejection]


def _solid_first(judged: list[_Judged]) -> list[_Judged]:
    """Pass over what looks like an infiltrate where there is a solid lesion; alone, it may be a subsolid tumour."""
    if not any(isinstance(found, ProposedRoi) and not found.hazy for _, found in judged):
        return judged
    return [
        (region, Rejection.HAZY if isinstance(found, ProposedRoi) and found.hazy else found) for region, found in judged
    ]


def _hottest(scene: PetScene, region: _Region) -> tuple[int, ...]:
    where = np.unravel_index(np.where(region.mask, scene.suv, 0.0).argmax(), scene.suv.shape)
    return tuple(int(i) for i in where)


def _passed_over(scene: PetScene, where: tuple[int, ...], reason: Rejection) -> PassedOver:
    z, y, x = where
    position = scene.geometry.index_to_mm @ np.array([x, y, z, 1.0])
    return PassedOver((float(position[0]), float(position[1]), float(position[2])), float(scene.suv[where]), reason)


def _nothing_found(search: LesionSearch) -> str:
    """Say what was seen where no lesion is proposed."""
    reasons = Counter(passed.reason for passed in search.passed_over)
    listed = "; ".join(f"{count} {reason}" for reason, count in reasons.items())
    hot_spots = f"{len(search.passed_over)} hot spots ({listed})" if listed else "no hot spot"
    return (
        f"no stored ROI, and no lesion to propose: lungs of {search.lungs_ml:.0f} ml, highest SUV in and beside them "
        f"{search.highest_suv:.2f}, {hot_spots} at or above SUV {SEED_SUV:g} ({SEED_SUV_IN_LUNG:g} in the lung); "
        "send a SEG or RTSTRUCT of the tumour"
    )


def _with_neighbours(mask: Mask) -> Mask:
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
