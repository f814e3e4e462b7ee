"""The PET on the CT grid: values by position in mm, zero outside, slices named by the nearest native one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from egfr_dls.volume import Unit, Volume
from inference.biomarkers.pet_ct_egfr.grid import pet_onto_ct
from tests.inference.biomarkers.volumes import ct, geometry


def _native(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    """A PET whose value is its position along z, in mm."""
    grid = geometry(shape, spacing_mm)
    z = (grid.origin_mm[2] + np.arange(shape[0]) * spacing_mm[0])[:, None, None]
    voxels = np.broadcast_to(z, shape).astype(np.float32)
    return Volume(voxels, grid, Unit.SUVBW, "pet", "frame", tuple(f"pet.{i}" for i in range(shape[0])))


def test_values_follow_the_position() -> None:
    """A ramp along z is the same ramp on the CT's slices."""
    carried = pet_onto_ct(_native((8, 40, 40), (5.0, 4.0, 4.0)), ct())
    wanted = [-150.0 + 3.0 * i for i in range(12)]
    np.testing.assert_allclose(carried.voxels[:, 60, 60], wanted, atol=1e-3)
    assert carried.unit is Unit.SUVBW
    assert carried.padding is None


def test_each_slice_names_the_nearest_native_slice() -> None:
    """CT slices every 3 mm, PET slices every 5 mm."""
    carried = pet_onto_ct(_native((8, 40, 40), (5.0, 4.0, 4.0)), ct())
    assert [int(u.split(".")[1]) for u in carried.sop_instance_uids] == [round(3 * i / 5) for i in range(12)]


def test_outside_the_pet_field_is_zero_and_marked() -> None:
    """A PET of 80 mm under a CT of 115 mm."""
    carried = pet_onto_ct(_native((8, 20, 20), (5.0, 4.0, 4.0)), ct())
    assert carried.padding is not None
    assert carried.padding[:, 100, 100].all()
    assert not carried.padding[:, 50, 50].any()
    assert not carried.voxels[carried.padding].any()


@pytest.mark.parametrize("n", [2, 8])
def test_the_ct_grid_is_kept(n: int) -> None:
    """Geometry and shape are the CT's, whatever the PET's."""
    grid = replace(ct()).geometry
    assert pet_onto_ct(_native((n, 20, 20), (5.0, 4.0, 4.0)), ct()).geometry == grid
