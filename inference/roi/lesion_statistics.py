"""What a region of interest holds, on the native PET grid. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egfr_dls.volume import Mask, Unit, Volume

MTV_THRESHOLD = 0.41  # of the maximum (EANM 2.0; Boellaard et al. 2015)


@dataclass(frozen=True)
class RoiStatistics:
    """SUVbw figures of one region, g/ml; volumes in ml, ``tlg_g`` in g.

    ``suv_mean`` is over all voxels of the region; ``mtv_suv_mean`` over those at or above ``mtv_threshold`` times
    the maximum, whose volume is ``mtv_ml``; ``tlg_g = mtv_suv_mean x mtv_ml``.
    """

    voxels: int
    volume_ml: float
    suv_min: float
    suv_median: float
    suv_mean: float
    suv_max: float
    mtv_threshold: float
    mtv_ml: float
    mtv_suv_mean: float
    tlg_g: float


def lesion_statistics(pet_suv: Volume, mask: Mask, mtv_threshold: float = MTV_THRESHOLD) -> RoiStatistics | None:
    """Return the figures of ``mask``, bool ``[z, y, x]`` on the PET grid; None where it holds no voxel or no SUV is known."""
    if pet_suv.unit is not Unit.SUVBW:
        return None
    suv = pet_suv.voxels[mask].astype(np.float64)
    if suv.size == 0:
        return None
    voxel_ml = pet_suv.geometry.voxel_ml
    metabolic = suv[suv >= mtv_threshold * suv.max()]
    mtv_ml = metabolic.size * voxel_ml
    # A region of negative values only has no voxel above the threshold.
    mtv_suv_mean = float(metabolic.mean()) if metabolic.size else 0.0
    return RoiStatistics(
        voxels=suv.size,
        volume_ml=suv.size * voxel_ml,
        suv_min=float(suv.min()),
        suv_median=float(np.median(suv)),
        suv_mean=float(suv.mean()),
        suv_max=float(suv.max()),
        mtv_threshold=mtv_threshold,
        mtv_ml=mtv_ml,
        mtv_suv_mean=mtv_suv_mean,
        tlg_g=mtv_suv_mean * mtv_ml,
    )
