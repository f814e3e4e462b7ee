"""PET/CT phantoms with known truth: a pure function of a seed.

A phantom shows that every stage works and says nothing about patients: no breathing mismatch, no lymph nodes, no
pneumonia, lesions far apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from egfr_dls.uids import derived_uid
from egfr_dls.volume import FloatVolume, Geometry, Mask, Unit, Volume
from training_export.phantom_anatomy import CT_GRID, LUNG_HU, PET_GRID, make_anatomy, paint
from training_export.phantom_lesions import LesionPlan, paint_lesion, plan_lesions

PSF_FWHM_MM = 6.5
PET_NOISE = 0.06  # standard deviation at SUV 1; grows with the square root of the uptake
CT_NOISE_HU = 12.0
LUNG_TEXTURE_HU = 25.0
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True, eq=False)
class PhantomLesion:
    """One lesion and its truth.

    Parameters
    ----------
    mask
        bool ``[z, y, x]`` on the CT grid
    centre_mm
        LPS x, y, z
    diameter_mm
        of the sphere of equal volume
    suv_max
        largest SUVbw of the PET voxels whose centre lies inside the lesion
    """

    label: str
    mask: Mask
    centre_mm: tuple[float, float, float]
    diameter_mm: float
    volume_ml: float
    suv_max: float


@dataclass(frozen=True, eq=False)
class Phantom:
    """One synthetic patient: volumes on their own grids in one frame of reference, lesions and labels.

    ``egfr`` is 1 for mutant, ``pdl1`` is 1 for positive: properties of the patient, drawn into every lesion.
    """

    seed: int
    study_instance_uid: str
    pet_suv: Volume
    ct_hu: Volume
    lesions: tuple[PhantomLesion, ...]
    egfr: int
    pdl1: int


def phantom_uid(seed: int, *parts: str | int) -> str:
    """Return the UID of a part of the phantom."""
    return derived_uid("phantom", seed, *parts)


def phantom_labels(seed: int) -> tuple[int, int]:
    """Return the EGFR and PD-L1 labels of a seed, independent of each other and of everything that is drawn."""
    egfr, pdl1 = random_streams(seed)[3].integers(2, size=2)
    return int(egfr), int(pdl1)


def make_phantom(seed: int) -> Phantom:
    """Return the phantom of this seed; the same seed gives the same voxels."""
    anatomy_rng, lesion_rng, noise_rng, _ = random_streams(seed)
    egfr, pdl1 = phantom_labels(seed)
    organs = make_anatomy(anatomy_rng)
    hu, activity = paint(organs, CT_GRID)
    plans = plan_lesions(lesion_rng, organs)
    masks = [paint_lesion(plan, CT_GRID, hu, activity, egfr, pdl1, lesion_rng) for plan in plans]
    ct = scan_ct(hu, noise_rng)
    pet = _pet(activity, noise_rng)
    return Phantom(
        seed=seed,
        study_instance_uid=phantom_uid(seed, "study"),
        pet_suv=phantom_volume(seed, "pet", pet, PET_GRID, Unit.SUVBW),
        ct_hu=phantom_volume(seed, "ct", ct, CT_GRID, Unit.HOUNSFIELD),
        lesions=tuple(
            lesion_truth(i, plan, mask, CT_GRID, float(pet[plan.shape.mask(PET_GRID)].max()))
            for i, (plan, mask) in enumerate(zip(plans, masks, strict=True), 1)
        ),
        egfr=egfr,
        pdl1=pdl1,
    )


def random_streams(seed: int) -> tuple[np.random.Generator, ...]:
    """Return the independent random streams of a phantom: anatomy, lesions, noise, labels."""
    return tuple(np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))


def scan_ct(hu: FloatVolume, rng: np.random.Generator) -> FloatVolume:
    """Add lung texture and noise; whole HU, as a scanner stores them."""
    texture = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0.5, 1.5, 1.5))
    texture *= LUNG_TEXTURE_HU / texture.std()
    noisy = hu + np.where(hu == np.float32(LUNG_HU), texture, 0.0)
    noisy += CT_NOISE_HU * rng.standard_normal(hu.shape, dtype=np.float32)
    whole: FloatVolume = np.rint(np.clip(noisy, -1024.0, 3071.0)).astype(np.float32)
    return whole


def _pet(activity: FloatVolume, rng: np.random.Generator) -> FloatVolume:
    """Blur with the point spread function, sum to PET voxels, add noise."""
    sigma = [PSF_FWHM_MM / FWHM_PER_SIGMA / d for d in CT_GRID.spacing_mm]
    blurred = ndimage.gaussian_filter(activity, sigma)
    z, y, x = PET_GRID.shape
    pet = blurred.reshape(z, y, 2, x, 2).mean(axis=(2, 4))
    noise = PET_NOISE * np.sqrt(pet) * rng.standard_normal(pet.shape, dtype=np.float32)
    noisy: FloatVolume = np.maximum(pet + noise, 0.0).astype(np.float32)
    return noisy


def phantom_volume(seed: int, role: str, voxels: FloatVolume, grid: Geometry, unit: Unit) -> Volume:
    """Return voxels as a series of the phantom: ``role`` names the series, every slice has its UID."""
    return Volume(
        voxels=voxels,
        geometry=grid,
        unit=unit,
        series_instance_uid=phantom_uid(seed, role),
        frame_of_reference_uid=phantom_uid(seed, "frame"),
        sop_instance_uids=tuple(phantom_uid(seed, role, i) for i in range(grid.shape[0])),
    )


def lesion_truth(number: int, plan: LesionPlan, mask: Mask, grid: Geometry, suv_max: float) -> PhantomLesion:
    """Return a lesion as it was drawn on the CT's ``grid``, with the highest SUVbw measured in it."""
    x, y, z = (float(v) for v in plan.shape.centre_mm)
    return PhantomLesion(
        label=f"Lesion {number}",
        mask=mask,
        centre_mm=(x, y, z),
        diameter_mm=plan.diameter_mm,
        volume_ml=float(np.count_nonzero(mask)) * grid.voxel_ml,
        suv_max=suv_max,
    )
