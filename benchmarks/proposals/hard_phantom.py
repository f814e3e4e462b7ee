"""A phantom with chosen difficulties: a pure function of seed and difficulties.

Against the reference phantom, always: a scanner's voxels (PET 4.69 x 4.69 x 3.27 mm, no multiple of the search grid's),
lungs joined by airways, hilar and lung vessels, ribs, lesions 6 mm from heart and liver instead of 14 mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.proposals.difficulties import Difficulty, added_organs
from egfr_dls.volume import FloatVolume, Geometry, Mask, Unit
from inference.imaging.resample import Interpolation, volume_onto
from training_export.phantom_anatomy import LUNG_HU, LUNG_SUV, Ellipsoid, Organ, centred_grid, make_anatomy, paint
from training_export.phantom_lesions import AVOIDED, DIAMETER_MM, LesionPlan, Placing, paint_lesion, plan_lesions
from training_export.phantoms import (
    FWHM_PER_SIGMA,
    PET_NOISE,
    PSF_FWHM_MM,
    Phantom,
    lesion_truth,
    phantom_labels,
    phantom_uid,
    phantom_volume,
    random_streams,
    scan_ct,
)

SLICE_MM = 3.27
CT_MM, PET_MM = 2.0, 4.6875
TOP_MM, BOTTOM_MM = 160.0, -160.0
NECK_TOP_MM, PELVIS_BOTTOM_MM = 235.0, -385.0

CHEST_WALL_MM = 14.0  # more than the reference phantom has
FROM_ORGANS_MM = 6.0
SMALL_MM = (8.0, 12.0)

BREATHING_MM = (8.0, 20.0)  # of the diaphragm, peak to peak
BREATHING_PHASES = np.cos(np.linspace(0, np.pi, 24, endpoint=False)) ** 4  # Lujan et al. 1999: more time at rest
APEX_MM, BASE_MM = 105.0, -105.0  # nothing moves at the apex, everything as the diaphragm does at the base

LOW_COUNT_NOISE = 0.22  # standard deviation at SUV 1: 16 % in the liver
NOISE_FWHM_MM = 5.0  # of the reconstruction: neighbouring voxels err together

PNEUMONIA_SUV, PNEUMONIA_HU = (1.5, 4.5), (-650.0, 0.0)
PNEUMONIA_MM = (15.0, 35.0)  # semi-axes


@dataclass(frozen=True, eq=False)
class HardPhantom:
    """A phantom and what in it is hot and no lesion: bool masks ``[z, y, x]`` on the CT grid, by cause."""

    phantom: Phantom
    decoys: Mapping[str, Mask]


def make_hard_phantom(seed: int, difficulties: frozenset[Difficulty]) -> HardPhantom:
    """Return the phantom of this seed; the same seed and difficulties give the same voxels."""
    anatomy_rng, lesion_rng, noise_rng, _ = random_streams(seed)
    egfr, pdl1 = phantom_labels(seed)
    ct_grid, pet_grid = (_grid(difficulties, mm) for mm in (CT_MM, PET_MM))
    organs = (*_with_a_wall(make_anatomy(anatomy_rng)), *_chest_details(anatomy_rng))
    added = {d: added_organs(d, organs, anatomy_rng) for d in Difficulty if d in difficulties}
    everything = (*organs, *chain.from_iterable(added.values()))
    hu, activity = paint(everything, ct_grid)
    _paint_ribs(organs, ct_grid, hu)
    plans = plan_lesions(lesion_rng, everything, _placing(difficulties, added))
    decoys = {d.value: _union(added[d], ct_grid) for d in added if added[d]}
    if Difficulty.PNEUMONIA in difficulties:
        decoys[Difficulty.PNEUMONIA.value] = _paint_pneumonia(organs, plans, ct_grid, hu, activity, anatomy_rng)
    masks = [paint_lesion(plan, ct_grid, hu, activity, egfr, pdl1, lesion_rng) for plan in plans]
    lesions = np.logical_or.reduce(masks) if masks else np.zeros(ct_grid.shape, dtype=np.bool_)
    pet = _scan_pet(activity, ct_grid, pet_grid, difficulties, noise_rng)
    on_ct = volume_onto(pet, pet_grid, ct_grid, Interpolation.LINEAR)
    phantom = Phantom(
        seed=seed,
        study_instance_uid=phantom_uid(seed, "study"),
        pet_suv=phantom_volume(seed, "pet", pet, pet_grid, Unit.SUVBW),
        ct_hu=phantom_volume(seed, "ct", scan_ct(hu, noise_rng), ct_grid, Unit.HOUNSFIELD),
        lesions=tuple(
            lesion_truth(i, plan, mask, ct_grid, float(on_ct[mask].max()))
            for i, (plan, mask) in enumerate(zip(plans, masks, strict=True), 1)
        ),
        egfr=egfr,
        pdl1=pdl1,
    )
    always = {
        o.name: o.shape.mask(ct_grid) for o in organs if o.name in {"heart wall", "liver", "spine", "off-lung spot"}
    }
    return HardPhantom(phantom, {cause: mask & ~lesions for cause, mask in {**decoys, **always}.items()})


def _grid(difficulties: frozenset[Difficulty], pixel_mm: float) -> Geometry:
    """Return the field: the chest, with neck or pelvis where a difficulty lies there."""
    top = NECK_TOP_MM if Difficulty.VOCAL_CORDS in difficulties else TOP_MM
    bottom = PELVIS_BOTTOM_MM if Difficulty.BLADDER in difficulties else BOTTOM_MM
    shape = (round((top - bottom) / SLICE_MM), round(384.0 / pixel_mm), round(448.0 / pixel_mm))
    grid = centred_grid(shape, (SLICE_MM, pixel_mm, pixel_mm))
    x, y, _ = grid.origin_mm
    return replace(grid, origin_mm=(x, y, bottom + SLICE_MM / 2))


def _placing(difficulties: frozenset[Difficulty], added: Mapping[Difficulty, tuple[Organ, ...]]) -> Placing:
    names = {
        organ.name for organs in added.values() for organ in organs if organ.name not in {"above the shoulders", "neck"}
    }
    diameter_mm = SMALL_MM if Difficulty.SMALL in difficulties else DIAMETER_MM
    return Placing(diameter_mm, AVOIDED | names, FROM_ORGANS_MM)


def _with_a_wall(organs: tuple[Organ, ...]) -> tuple[Organ, ...]:
    """Widen the torso: the reference phantom's lungs may reach the skin, which no patient's do."""
    torso = organs[0]
    wider = Ellipsoid(torso.shape.centre_mm, torso.shape.semi_axes_mm + CHEST_WALL_MM)
    return (replace(torso, shape=wider), *organs[1:])


def _chest_details(rng: np.random.Generator) -> tuple[Organ, ...]:
    """Airways that join the lungs, the vessels at the hila and in the lungs."""

    def tube(name: str, centre: tuple[float, ...], semi_axes: tuple[float, ...], hu: float, suv: float) -> Organ:
        return Organ(name, Ellipsoid(np.array(centre, dtype=float), np.array(semi_axes)), hu, suv)

    airways = (
        tube("trachea", (0, 12, 160), (9, 9, 140), -950.0, 0.3),
        tube("main bronchi", (0, 12, 24), (75, 7, 8), -950.0, 0.3),
    )
    hila = tuple(tube("hilar vessels", (side * 42, 4, -8), (13, 14, 24), 45.0, 1.7) for side in (-1, 1))
    vessels = []
    for _ in range(16):
        side, along = rng.choice((-1.0, 1.0)), int(rng.integers(3))
        semi_axes = np.full(3, rng.uniform(1.5, 3.5))
        semi_axes[along] = rng.uniform(18.0, 38.0)
        centre = np.array([side * 94, 0.0, 0.0]) + rng.uniform(-1, 1, 3) * (28.0, 45.0, 55.0)
        vessels.append(Organ("vessel", Ellipsoid(centre, semi_axes), 40.0, 1.6))
    return (*airways, *hila, *vessels)


def _paint_ribs(organs: tuple[Organ, ...], grid: Geometry, hu: FloatVolume) -> None:
    """Draw ribs in the wall about each lung: a shell, 9 mm in each 26 mm of height; not towards the mediastinum."""
    z, _, x = (
        grid.origin_mm[a] + np.arange(n) * d for a, n, d in zip((2, 1, 0), grid.shape, grid.spacing_mm, strict=True)
    )
    for organ in organs:
        if organ.name in {"right lung", "left lung"}:
            radius = organ.shape.radius(grid)
            lateral = np.abs(x) > 45.0
            hu[(radius > 1.06) & (radius < 1.15) & (np.mod(z, 26.0) < 9.0)[:, None, None] & lateral] = 250.0


def _union(organs: tuple[Organ, ...], grid: Geometry) -> Mask:
    hot = [organ.shape.mask(grid) for organ in organs if organ.suv >= 2.0]
    union: Mask = np.logical_or.reduce(hot)
    return union


def _paint_pneumonia(
    organs: tuple[Organ, ...],
    plans: tuple[LesionPlan, ...],
    grid: Geometry,
    hu: FloatVolume,
    activity: FloatVolume,
    rng: np.random.Generator,
) -> Mask:
    """Draw one patchy infiltrate into the lower part of a lung, away from the lesions; return its voxels.

    Density from ground glass to consolidation in clouds, uptake with density.
    """
    side = ("right lung", "left lung")[int(rng.integers(2))]
    lung = next(organ.shape for organ in organs if organ.name == side)
    shape = Ellipsoid(lung.centre_mm + rng.uniform(-1, 1, 3) * (12, 35, 20) - (0, 0, 35), rng.uniform(*PNEUMONIA_MM, 3))
    suv = rng.uniform(*PNEUMONIA_SUV)
    clouds = ndimage.gaussian_filter(rng.standard_normal(grid.shape, dtype=np.float32), (2.5, 4.0, 4.0))
    clouds /= 2.0 * clouds.std()
    density = np.clip(1.2 - shape.radius(grid) + clouds, 0.0, 1.0)
    inside: Mask = (shape.radius(grid) <= 1.2) & lung.mask(grid) & (hu == np.float32(LUNG_HU)) & (density > 0)
    for plan in plans:
        inside &= Ellipsoid(plan.shape.centre_mm, plan.shape.semi_axes_mm + 12.0).radius(grid) > 1.0
    low, high = PNEUMONIA_HU
    hu[inside] = np.clip(low + (high - low) * density[inside], LUNG_HU, 40.0)
    activity[inside] = LUNG_SUV + (suv - LUNG_SUV) * density[inside]
    return inside


def _scan_pet(
    activity: FloatVolume,
    grid: Geometry,
    pet_grid: Geometry,
    difficulties: frozenset[Difficulty],
    rng: np.random.Generator,
) -> FloatVolume:
    """Average over breathing, blur with the point spread function, sample, add noise that neighbours share."""
    if Difficulty.BREATHING in difficulties:
        activity = np.tensordot(_breathing(grid, rng), activity, axes=1)
    blurred = ndimage.gaussian_filter(activity, [PSF_FWHM_MM / FWHM_PER_SIGMA / d for d in grid.spacing_mm])
    pet = volume_onto(blurred, grid, pet_grid, Interpolation.LINEAR)
    noise = rng.standard_normal(pet.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, [NOISE_FWHM_MM / FWHM_PER_SIGMA / d for d in pet_grid.spacing_mm])
    noise *= (LOW_COUNT_NOISE if Difficulty.LOW_COUNT in difficulties else PET_NOISE) / noise.std()
    noisy: FloatVolume = np.maximum(pet + np.sqrt(np.maximum(pet, 0.0)) * noise, 0.0).astype(np.float32)
    return noisy


def _breathing(grid: Geometry, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the matrix (slice measured, slice at the moment of the CT) that averages the motion along the patient.

    A slice moves by its share of the diaphragm's way; the CT holds one moment of the breath, the PET all of them.
    """
    amplitude_mm = rng.uniform(*BREATHING_MM)
    ct_moment = rng.choice(BREATHING_PHASES)
    heights = grid.origin_mm[2] + np.arange(grid.shape[0]) * SLICE_MM
    share = np.clip((APEX_MM - heights) / (APEX_MM - BASE_MM), 0.0, 1.0)
    matrix = np.zeros((grid.shape[0],) * 2, dtype=np.float32)
    rows = np.arange(grid.shape[0])
    for phase in BREATHING_PHASES:
        source = np.clip(rows + amplitude_mm * (phase - ct_moment) * share / SLICE_MM, 0, rows[-1])
        low = np.minimum(source.astype(int), rows[-1] - 1)
        np.add.at(matrix, (rows, low), 1 - (source - low))
        np.add.at(matrix, (rows, low + 1), source - low)
    matrix /= len(BREATHING_PHASES)
    return matrix
