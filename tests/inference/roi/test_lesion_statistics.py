"""SUV figures of a region, on numbers that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from egfr_dls.volume import Geometry, Unit, Volume
from inference.roi.lesion_statistics import lesion_statistics

AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@pytest.fixture
def pet() -> Volume:
    """Voxels of 0.5 ml, SUV 10, 6, 4.2, 4, 1 and a hotter one outside the region."""
    voxels = np.array([10.0, 6.0, 4.2, 4.0, 1.0, 99.0], dtype=np.float32).reshape(1, 1, 6)
    return Volume(voxels, Geometry((1, 1, 6), (0.0, 0.0, 0.0), (5.0, 10.0, 10.0), AXES), Unit.SUVBW, "1", "2", ("3",))


def test_figures(pet: Volume) -> None:
    found = lesion_statistics(pet, pet.voxels < 50)
    assert found is not None
    assert (found.voxels, found.volume_ml, found.mtv_threshold) == (5, 2.5, 0.41)
    assert (found.suv_min, found.suv_median, found.suv_max) == pytest.approx((1.0, 4.2, 10.0))
    assert found.suv_mean == pytest.approx(25.2 / 5), "over all voxels"
    assert found.mtv_ml == 1.5, "10, 6 and 4.2 reach 41 % of 10"
    assert found.mtv_suv_mean == pytest.approx(20.2 / 3)
    assert found.tlg_g == pytest.approx(20.2 / 3 * 1.5)


def test_another_threshold(pet: Volume) -> None:
    found = lesion_statistics(pet, pet.voxels < 50, 0.4)
    assert found is not None
    assert found.mtv_ml == 2.0
    assert found.tlg_g == pytest.approx(24.2 / 4 * 2.0)


def test_nothing_to_measure(pet: Volume) -> None:
    assert lesion_statistics(pet, np.zeros((1, 1, 6), dtype=np.bool_)) is None
    assert lesion_statistics(replace(pet, unit=Unit.RELATIVE), pet.voxels < 50) is None
