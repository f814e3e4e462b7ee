"""Body, lungs and closed field on a chest of a few ellipsoids."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from inference.imaging.lung_field import close_mask, distance_to, find_body, find_lung_field

SHAPE = (50, 60, 80)  # cubes of 4 mm


def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
    squares = [((i - c) / r) ** 2 for i, c, r in zip(np.indices(SHAPE), centre, radii, strict=True)]
    inside: NDArray[np.bool_] = sum(squares) <= 1.0
    return inside


RIGHT, LEFT = ellipsoid((22, 30, 27), (18, 15, 9)), ellipsoid((22, 30, 53), (18, 15, 9))
AIRWAYS = ellipsoid((22, 30, 40), (2, 2, 14)) | (ellipsoid((22, 30, 40), (99, 2, 2)) & (np.indices(SHAPE)[0] > 20))


@pytest.fixture
def chest() -> NDArray[np.float32]:
    """A body with a thin wall at the sides, two lungs joined by airways that go up to the neck, and a table."""
    hu = np.full(SHAPE, -1000.0, dtype=np.float32)
    hu[ellipsoid((22, 30, 40), (99, 22, 25))] = 40.0
    hu[RIGHT | LEFT] = -830.0
    hu[AIRWAYS] = -950.0
    hu[:, 56:58, 10:70] = 60.0
    return hu


def test_the_body_holds_the_lungs_and_not_the_table(chest: NDArray[np.float32]) -> None:
    body = find_body(chest)
    assert body[RIGHT | LEFT].all()
    assert not body[:, 56:].any()


def test_lungs_that_the_airways_join_and_no_trachea(chest: NDArray[np.float32]) -> None:
    field = find_lung_field(chest, 4.0)
    lungs = RIGHT | LEFT
    assert (field.lungs & lungs).sum() > 0.97 * lungs.sum()
    assert not field.lungs[44:].any(), "the trachea above the lungs"
    assert not field.closed[44:].any()


def test_the_closed_field_bridges_a_mass_at_the_hilum(chest: NDArray[np.float32]) -> None:
    mass = ellipsoid((22, 30, 33), (5, 5, 5))
    chest[mass] = 40.0
    field = find_lung_field(chest, 4.0)
    assert not (field.lungs & mass).any()
    assert (field.closed & mass).sum() > 0.6 * mass.sum()
    assert not field.closed[~field.body].any()


def test_a_ct_without_lungs_is_refused_with_what_was_found(chest: NDArray[np.float32]) -> None:
    chest[RIGHT | LEFT | AIRWAYS] = 40.0
    bowel = ellipsoid((22, 30, 40), (6, 6, 6))
    chest[bowel] = -800.0
    with pytest.raises(StudyRefusedError, match=rf"{bowel.sum() * 0.064:.0f} ml") as refused:
        find_lung_field(chest, 4.0)
    assert refused.value.code is RefusalCode.NO_LUNG_FIELD


def test_no_body_at_all_is_refused() -> None:
    with pytest.raises(StudyRefusedError, match="none"):
        find_lung_field(np.full(SHAPE, -1000.0, dtype=np.float32), 4.0)


def test_closing_equals_scipy_where_the_array_is_large_enough() -> None:
    rng = np.random.default_rng(1)
    mask = np.pad(rng.random((12, 12, 12)) > 0.9, 5)
    z, y, x = np.indices((7, 7, 7)) - 3
    np.testing.assert_array_equal(close_mask(mask, 3.0), ndimage.binary_closing(mask, z**2 + y**2 + x**2 <= 9))


def test_distance_is_exact_within_reach() -> None:
    mask = np.zeros((9, 9, 30), dtype=np.bool_)
    mask[4, 4, 4] = True
    distance = distance_to(mask, 3)
    assert distance[4, 4, 4] == 0.0
    assert distance[4, 4, 7] == 3.0
    assert np.isinf(distance[4, 4, 8:]).all()
