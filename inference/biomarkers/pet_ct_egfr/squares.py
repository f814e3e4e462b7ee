"""Which slices of a lesion are scored, where the network's square lies on each, and which pixels it is sampled from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from egfr_dls.volume import Mask, Volume
from inference.biomarkers.contract import RoiIs
from inference.biomarkers.pet_ct_egfr.field_of_view import RegionView, SliceView
from inference.imaging.crop import Source, lesion_extent, overlap
from inference.models.manifest import Preprocessing

AIR_HU = -1000.0
LOWEST_HU = -1024.0  # below the 12-bit scale: a vendor's filler outside the scan circle
BOX_LESION_FRACTION = 0.41  # of the PET maximum: EANM contour, used to find the lesion in a drawn box


def pixel_mm(ct: Volume) -> tuple[float, float]:
    """Return row and column spacing of the slices."""
    return ct.geometry.spacing_mm[1], ct.geometry.spacing_mm[2]


def areas_mm2(mask: Mask, ct: Volume) -> NDArray[np.float64]:
    """Return the area of a region on each slice."""
    areas: NDArray[np.float64] = np.count_nonzero(mask, axis=(1, 2)) * float(np.prod(pixel_mm(ct)))
    return areas


def views_of(mask: Mask, lesion: Mask, ct: Volume, preprocessing: Preprocessing, roi_is: RoiIs) -> list[SliceView]:
    """Place a square on every slice that is large enough.

    Parameters
    ----------
    mask
        bool ``[z, y, x]``: the region as stored or proposed
    lesion
        the lesion in it: the region itself, or what a drawn box holds of it
    """
    chosen = np.flatnonzero(areas_mm2(mask, ct) >= preprocessing.min_area_mm2)
    return [_view(int(z), mask, lesion, ct, preprocessing, roi_is) for z in chosen]


def _view(z: int, mask: Mask, lesion: Mask, ct: Volume, preprocessing: Preprocessing, roi_is: RoiIs) -> SliceView:
    """Place the square about the bounding box of slice or region, with a margin unless the box was drawn."""
    outline: Mask = mask[z] if preprocessing.box == "slice" else np.logical_or.reduce(mask, axis=0)
    region = lesion_extent(outline, pixel_mm(ct))
    assert region is not None  # slices without region were not chosen
    box = region.square(preprocessing.margin_mm if roi_is == "lesion" else 0.0)
    return SliceView(
        slice_index=z,
        box=box,
        frame=box if roi_is == "lesion" else region,
        lesion=lesion_extent(lesion[z], pixel_mm(ct)),
    )


def lesion_in_box(mask: Mask, pet: Volume) -> Mask:
    """Estimate the lesion inside a drawn box: at least 41 % of the box's PET maximum."""
    if not mask.any():
        return mask
    highest = float(pet.voxels[mask].max())
    inside: Mask = mask & (pet.voxels >= BOX_LESION_FRACTION * highest)
    return inside if highest > 0 else np.zeros_like(mask)


def region_view(pet_on_ct: Volume, lesion: Mask, views: Sequence[SliceView]) -> RegionView:
    """Return what is judged of a region as a whole, on the slices that are left of it."""
    inside, around = [], []
    for view in views:
        z = view.slice_index
        pixels, held = pet_on_ct.voxels[z], lesion[z]
        square, _ = overlap(pixels.shape, view.box.in_pixels(pixel_mm(pet_on_ct)))
        measured = ~pet_source(pet_on_ct, z).absent[square]
        inside.append(pixels[held])
        around.append(pixels[square][measured & ~held[square]])
    beside = np.concatenate(around)
    return RegionView(
        n_slices=len(views),
        hottest=float(np.concatenate(inside).max()),
        around=float(np.median(beside)) if beside.size else None,
    )


def ct_source(ct: Volume, z: int) -> Source:
    """Return one CT slice in HU; padding and fillers below the 12-bit scale count as absent, and become air."""
    pixels = ct.voxels[z]
    absent = pixels < LOWEST_HU
    return Source(pixels, absent if ct.padding is None else absent | ct.padding[z], AIR_HU)


def pet_source(pet: Volume, z: int) -> Source:
    """Return one PET slice; outside the PET field it is absent, and becomes 0."""
    pixels = pet.voxels[z]
    return Source(pixels, np.zeros(pixels.shape, np.bool_) if pet.padding is None else pet.padding[z], 0.0)
