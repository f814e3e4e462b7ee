"""Body, lungs and the closed lung field of a CT on a cubic grid. Pure.

The closed field is the lungs as they would be without the disease in them: it bridges hilum, pleura and lesions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import FloatVolume, Mask
from inference.imaging.resample import bounding_box

BODY_HU = -500.0
AERATED_HU = -400.0
LEAST_LUNG_ML = 300.0
LEAST_SECTION_CM2 = 6.0  # a trachea has 2 to 4 cm2; followed upwards it would take the field into the neck
CLOSING_MM = 40.0


@dataclass(frozen=True, eq=False)
class LungField:
    """Bool ``[z, y, x]`` masks on the CT's grid: ``body``, the aerated ``lungs``, and the ``closed`` lung field."""

    body: Mask
    lungs: Mask
    closed: Mask


def find_lung_field(ct_hu: FloatVolume, spacing_mm: float) -> LungField:
    """Find the lungs of a CT.

    Parameters
    ----------
    ct_hu
        float32 ``[z, y, x]``, HU, cubes of ``spacing_mm``

    Raises
    ------
    StudyRefusedError
        ``NO_LUNG_FIELD``
    """
    body = find_body(ct_hu)
    sides = _lungs(ct_hu, body, spacing_mm)
    closed = np.zeros_like(body)
    for lung in sides:
        closed |= close_mask(lung, CLOSING_MM / spacing_mm)
    lungs = np.logical_or.reduce(sides)
    return LungField(body, lungs, _filled_slices(closed) & body)


def find_body(ct_hu: FloatVolume) -> Mask:
    """Return the largest body of tissue, its air filled slice by slice; the table and clothes are cut off.

    Filled before it is opened: the opening would break a chest wall of less than 20 mm, and the lung would be outside.
    """
    tissue = ndimage.binary_opening(_filled_slices(ct_hu > BODY_HU), iterations=2)
    components = _components(tissue)
    return _filled_slices(components[0]) if components else tissue


def close_mask(mask: Mask, radius: float) -> Mask:
    """Return the morphological closing by a ball of ``radius`` voxels, by distance transforms."""
    reach = int(np.ceil(radius)) + 1
    box = bounding_box(mask)
    padded = np.pad(mask[box], reach)
    dilated = ndimage.distance_transform_edt(~padded) <= radius
    closed = ndimage.distance_transform_edt(dilated) > radius
    out = np.zeros_like(mask)
    out[box] = closed[reach:-reach, reach:-reach, reach:-reach] | mask[box]
    return out


def distance_to(mask: Mask, reach: int) -> FloatVolume:
    """Return the distance of each voxel to the mask, in voxels: 0 inside, infinite beyond ``reach`` voxels of its box."""
    distance = np.full(mask.shape, np.inf, dtype=np.float32)
    box = bounding_box(mask, reach)
    distance[box] = ndimage.distance_transform_edt(~mask[box])
    return distance


def _lungs(ct_hu: FloatVolume, body: Mask, spacing_mm: float) -> tuple[Mask, ...]:
    """Return left and right lung (in no order), without airways outside the lungs."""
    voxel_ml = spacing_mm**3 / 1000.0
    components = _components((ct_hu < AERATED_HU) & body, keep=2)
    volumes_ml = [float(c.sum()) * voxel_ml for c in components]
    lungs = [c for c, ml in zip(components, volumes_ml, strict=True) if ml >= LEAST_LUNG_ML]
    if len(lungs) == 1:  # joined by the airways: cut at the middle of the body
        middle = round(float(np.flatnonzero(body.any(axis=(0, 1))).mean()))
        right = lungs[0].copy()
        right[:, :, middle:] = False
        lungs = [right, lungs[0] & ~right]
    sections = [_large_sections(lung, LEAST_SECTION_CM2 * 100.0 / spacing_mm**2) for lung in lungs]
    sides = tuple(lung for lung in sections if lung.any())
    if not sides:
        found = ", ".join(f"{ml:.0f} ml" for ml in volumes_ml) or "none"
        raise StudyRefusedError(
            RefusalCode.NO_LUNG_FIELD,
            f"the CT shows no lung: air below {AERATED_HU:.0f} HU inside the body: {found}; needed a connected volume of "
            f"{LEAST_LUNG_ML:.0f} ml. Is it a CT of the chest? A stored SEG or RTSTRUCT is scored without this step",
        )
    return sides


def _large_sections(mask: Mask, least_voxels: float) -> Mask:
    """Keep the parts of each axial slice that have at least this area."""
    kept = np.zeros_like(mask)
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        labels, _ = ndimage.label(mask[z])
        large = np.bincount(labels.ravel()) >= least_voxels
        large[0] = False
        kept[z] = large[labels]
    return kept


def _components(mask: Mask, keep: int = 1) -> list[Mask]:
    """Return the largest 6-connected components, largest first."""
    labels, _ = ndimage.label(mask)
    sizes: NDArray[np.int64] = np.bincount(labels.ravel())
    sizes[0] = 0
    return [labels == i for i in np.argsort(sizes)[::-1][:keep] if sizes[i] > 0]


def _filled_slices(mask: Mask) -> Mask:
    return np.stack([ndimage.binary_fill_holes(section) for section in mask])
