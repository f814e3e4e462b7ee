"""The pixels that a report shows of one lesion: crops on the CT grid with what the network saw and where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from egfr_dls.evidence import LesionEvidence
from egfr_dls.volume import Mask, Volume
from inference.biomarkers.pet_ct_egfr.hyperimage import SliceFrame
from inference.biomarkers.pet_ct_egfr.squares import AIR_HU, ct_source, pet_source
from inference.imaging.crop import Extent, Source, lesion_extent, window
from inference.imaging.saliency import ClassMaps, map_onto

CROP_SIDE_MM = 160.0
BOX_CLEARANCE_MM = 10.0

Bounds = tuple[int, int, int, int]


def lesion_evidence(
    label: str, ct: Volume, pet_on_ct: Volume, mask: Mask, frames: Sequence[SliceFrame], maps: ClassMaps | None
) -> LesionEvidence:
    """Cut a square of about 160 mm around a lesion for each scored slice.

    ``maps`` are scaled for the patient, in the order of ``frames``; the square grows where a network's box needs it.
    """
    pixel_mm = (ct.geometry.spacing_mm[1], ct.geometry.spacing_mm[2])
    bounds = _bounds(mask, frames, pixel_mm)
    held = np.flatnonzero(mask.any(axis=(1, 2)))
    return LesionEvidence(
        label=label,
        mask=mask[held],
        mask_sop_instance_uids=tuple(ct.sop_instance_uids[z] for z in held),
        ct_hu=np.stack([_hounsfield(window(ct_source(ct, f.slice_index), bounds)) for f in frames]),
        pet=np.stack([window(pet_source(pet_on_ct, f.slice_index), bounds).astype(np.float32) for f in frames]),
        roi=np.stack([_roi(mask[f.slice_index], bounds) for f in frames]),
        box=np.array([_relative(f.pixels, bounds) for f in frames], np.int32),
        cam_positive=None if maps is None else _drawn(maps.positive, frames, pixel_mm, bounds),
        cam_negative=None if maps is None else _drawn(maps.negative, frames, pixel_mm, bounds),
        pixel_mm=pixel_mm,
        origin_pixel=bounds[:2],
    )


def _bounds(mask: Mask, frames: Sequence[SliceFrame], pixel_mm: tuple[float, float]) -> Bounds:
    whole = lesion_extent(np.logical_or.reduce(mask, axis=0), pixel_mm)
    boxes = [f.box for f in frames] + ([] if whole is None else [whole])
    around = Extent(
        min(b.row0_mm for b in boxes),
        max(b.row1_mm for b in boxes),
        min(b.column0_mm for b in boxes),
        max(b.column1_mm for b in boxes),
    )
    return around.square(max(BOX_CLEARANCE_MM, (CROP_SIDE_MM - around.longest_mm) / 2)).in_pixels(pixel_mm)


def _hounsfield(crop: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.clip(np.rint(crop), AIR_HU - 24, np.iinfo(np.int16).max).astype(np.int16)


def _roi(mask: Mask, bounds: Bounds) -> Mask:
    inside: Mask = window(Source(mask.astype(np.float32), np.zeros_like(mask), 0.0), bounds) > 0
    return inside


def _relative(pixels: Bounds, bounds: Bounds) -> Bounds:
    row, column = bounds[0], bounds[1]
    return pixels[0] - row, pixels[1] - column, pixels[2] - row, pixels[3] - column


def _drawn(
    maps: NDArray[np.float32], frames: Sequence[SliceFrame], pixel_mm: tuple[float, float], bounds: Bounds
) -> NDArray[np.float32]:
    return np.stack([map_onto(m, f.box, pixel_mm, bounds) for m, f in zip(maps, frames, strict=True)])
