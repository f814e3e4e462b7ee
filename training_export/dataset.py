"""Phantoms to training examples: the very hyper-images that are served, under stored and under imitated proposed ROIs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy import ndimage

from egfr_dls.volume import Mask
from inference.biomarkers.pet_ct_egfr.grid import pet_onto_ct
from inference.biomarkers.pet_ct_egfr.hyperimage import prepare
from inference.imaging.resample import mask_onto
from inference.models.manifest import Preprocessing
from training_export.phantoms import Phantom, PhantomLesion, make_phantom
from training_export.training.slices import Slices

# First seeds of the phantoms that train, that choose the epoch, and that are only ever measured on.
TRAINING_SEED, VALIDATION_SEED, UNSEEN_SEED = 10_000, 20_000, 30_000
SLICES_A_LESION = 6
PROPOSAL_FRACTIONS = (0.41, 0.61)  # of SUVmax: the range of a proposed region's threshold
PROPOSAL_REACH_VOXELS = 2
LARGEST_SHIFT_MM = 4.0


@dataclass(frozen=True, eq=False)
class Examples:
    """Hyper-images with their truth.

    Parameters
    ----------
    images
        float32 ``[n, 3, 64, 64]``: PET, CT, FUSE
    egfr, pdl1
        int64 ``[n]``: 1 is mutant, positive
    seed
        int64 ``[n]``: the phantom
    stored_primary
        bool ``[n]``: the phantom's largest lesion under its true mask, which is what patient scores are made of
    """

    images: NDArray[np.float32]
    egfr: NDArray[np.int64]
    pdl1: NDArray[np.int64]
    seed: NDArray[np.int64]
    stored_primary: NDArray[np.bool_]

    def slices(self, task: str) -> Slices:
        """Return them as training takes them, with the labels of a manifest's task."""
        seeds, patient = np.unique(self.seed, return_inverse=True)
        return Slices(
            images=self.images,
            rows=np.arange(len(self.images)),
            label={"egfr": self.egfr, "pdl1": self.pdl1}[task],
            patient=patient,
            counted=self.stored_primary,
            names=tuple(f"phantom-{seed}" for seed in seeds),
        )


def make_examples(seeds: Sequence[int], preprocessing: Preprocessing, processes: int, console: Console) -> Examples:
    """Return the examples of the phantoms of these seeds, in their order, made by so many processes."""
    # A forked child would inherit the threads of what this process has loaded.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        made = pool.map(partial(phantom_examples, preprocessing=preprocessing), seeds)
        return joined(list(track(made, description="phantoms", total=len(seeds), console=console)))


def joined(parts: Iterable[Examples]) -> Examples:
    """Return the examples of several phantoms as one."""
    parts = list(parts)
    return Examples(
        images=np.concatenate([p.images for p in parts]),
        egfr=np.concatenate([p.egfr for p in parts]),
        pdl1=np.concatenate([p.pdl1 for p in parts]),
        seed=np.concatenate([p.seed for p in parts]),
        stored_primary=np.concatenate([p.stored_primary for p in parts]),
    )


def phantom_examples(seed: int, preprocessing: Preprocessing) -> Examples:
    """Return the examples of one phantom."""
    phantom = make_phantom(seed)
    rng = np.random.default_rng(phantom.seed)
    pet = pet_onto_ct(phantom.pet_suv, phantom.ct_hu)
    primary = max(phantom.lesions, key=lambda lesion: lesion.volume_ml)
    images, stored_primary = [], []
    for lesion in phantom.lesions:
        masks = (
            lesion.mask,
            proposal_like(phantom, lesion, rng.uniform(*PROPOSAL_FRACTIONS)),
            shifted(lesion.mask, rng.uniform(-LARGEST_SHIFT_MM, LARGEST_SHIFT_MM, 2), phantom),
        )
        for mask in masks:
            made = _spread(prepare(phantom.ct_hu, pet, mask, preprocessing).images)
            images.append(made)
            stored_primary.append(np.full(len(made), mask is primary.mask))
    n = sum(len(made) for made in images)
    return Examples(
        images=np.concatenate(images),
        egfr=np.full(n, phantom.egfr, np.int64),
        pdl1=np.full(n, phantom.pdl1, np.int64),
        seed=np.full(n, phantom.seed, np.int64),
        stored_primary=np.concatenate(stored_primary),
    )


def proposal_like(phantom: Phantom, lesion: PhantomLesion, fraction: float) -> Mask:
    """Return what a PET threshold would draw about a lesion, on the CT grid (science.md E1, steps 5 and 7)."""
    pet, ct = phantom.pet_suv, phantom.ct_hu
    near = ndimage.binary_dilation(mask_onto(lesion.mask, ct.geometry, pet.geometry), iterations=PROPOSAL_REACH_VOXELS)
    region = near & (pet.voxels >= fraction * lesion.suv_max)
    return mask_onto(ndimage.binary_fill_holes(region), pet.geometry, ct.geometry)


def shifted(mask: Mask, shift_mm: NDArray[np.float64], phantom: Phantom) -> Mask:
    """Return the mask moved in the axial plane by whole pixels and grown by one: a reader's loose contour."""
    rows, columns = np.rint(shift_mm / phantom.ct_hu.geometry.spacing_mm[1:]).astype(int)
    plane = ndimage.generate_binary_structure(3, 1)
    plane[[0, 2]] = False
    return np.asarray(ndimage.binary_dilation(np.roll(mask, (rows, columns), axis=(1, 2)), plane))


def _spread(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep at most ``SLICES_A_LESION`` slices, evenly spread, so that large lesions do not outweigh small ones."""
    if len(images) <= SLICES_A_LESION:
        return images
    kept = np.linspace(0, len(images) - 1, SLICES_A_LESION).round().astype(int)
    return np.asarray(images[kept])
