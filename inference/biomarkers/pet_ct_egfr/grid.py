"""The PET on the CT grid, as training and serving both use it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from egfr_dls.volume import FloatVolume, Geometry, Mask, Volume
from inference.imaging.resample import Interpolation, volume_onto


def pet_onto_ct(pet: Volume, ct: Volume) -> Volume:
    """Return the PET at the CT's voxel centres, linear, in the PET's unit; both must lie in one frame of reference.

    Outside the PET field the value is 0 and ``padding`` is true. Each slice carries the SOP Instance UID of the native
    PET slice nearest to it.
    """
    native, grid = pet.geometry, ct.geometry
    return replace(
        pet,
        voxels=volume_onto(pet.voxels, native, grid, Interpolation.LINEAR),
        geometry=grid,
        frame_of_reference_uid=ct.frame_of_reference_uid,
        stored_geometry=None,
        sop_instance_uids=tuple(pet.sop_instance_uids[i] for i in _nearest_slices(native, grid)),
        padding=_outside(native, grid),
    )


def _nearest_slices(native: Geometry, grid: Geometry) -> list[int]:
    """Return the PET slice nearest to the middle of each CT slice."""
    z, y, x = grid.shape
    middles = np.array([[(x - 1) / 2, (y - 1) / 2, i, 1.0] for i in range(z)])
    indices = (np.linalg.inv(native.index_to_mm) @ grid.index_to_mm @ middles.T)[2]
    return [int(i) for i in np.clip(np.rint(indices), 0, native.shape[0] - 1)]


def _outside(native: Geometry, grid: Geometry) -> Mask | None:
    """Return where the CT grid leaves the PET field; None: nowhere, found from its eight corners alone."""
    corners = np.array([(x, y, z, 1.0) for x, y, z in product(*((0, n - 1) for n in reversed(grid.shape)))])
    indices = (np.linalg.inv(native.index_to_mm) @ grid.index_to_mm @ corners.T)[2::-1]  # z, y, x
    limits = np.array(native.shape)[:, None] - 0.5
    if ((indices >= -0.5) & (indices <= limits)).all():
        return None
    field: FloatVolume = np.ones(native.shape, np.float32)
    outside: Mask = volume_onto(field, native, grid, Interpolation.NEAREST) < 0.5
    return outside
