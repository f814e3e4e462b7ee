"""Where a hot spot is looked for, and how its region grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from egfr_dls.volume import FloatVolume, Mask
from inference.roi.pet_scene import PetScene, Seed
from inference.roi.proposal_rules import FIELD_SHARE, SEED_SUV, SEED_SUV_IN_LUNG
from training_export.phantoms import make_phantom


@pytest.fixture(scope="module")
def scene() -> PetScene:
    phantom = make_phantom(9104)
    return PetScene.of(phantom.pet_suv, phantom.ct_hu)


def spot(scene: PetScene, centre: Seed, suv: float, radius: float = 2.5) -> PetScene:
    """The scene with nothing hot in it but a ball."""
    squares = [(i - c) ** 2 for i, c in zip(np.indices(scene.suv.shape), centre, strict=True)]
    inside: Mask = sum(squares) <= radius**2
    return replace(scene, suv=_suv(inside, suv))


def _suv(inside: Mask, suv: float) -> FloatVolume:
    return np.where(inside, np.float32(suv), np.float32(0.4))


def middle_of_a_lung(scene: PetScene) -> Seed:
    z, y, x = (
        int(i)
        for i in np.argwhere(scene.lungs & (np.indices(scene.lungs.shape)[2] < scene.lungs.shape[2] // 2)).mean(axis=0)
    )
    return z, y, x


def mediastinum(scene: PetScene) -> Seed:
    """A place within the field's reach that is surrounded by tissue."""
    places = scene.near_field & ~scene.closed & (scene.hu > 0)
    z, y, x = (int(i) for i in np.argwhere(places)[places.sum() // 2])
    return z, y, x


def test_a_weak_spot_is_a_seed_in_the_lung_and_none_in_tissue(scene: PetScene) -> None:
    between = (SEED_SUV + SEED_SUV_IN_LUNG) / 2
    assert len(spot(scene, middle_of_a_lung(scene), between).seeds()) == 1
    assert spot(scene, mediastinum(scene), between).seeds() == []
    assert len(spot(scene, mediastinum(scene), SEED_SUV + 0.5).seeds()) >= 1
    assert spot(scene, middle_of_a_lung(scene), SEED_SUV_IN_LUNG - 0.1).seeds() == []


def test_seeds_come_hottest_first_and_lie_near_the_field(scene: PetScene) -> None:
    seeds = scene.seeds()
    assert all(scene.near_field[seed] for seed in seeds)
    assert len(seeds) == len(set(seeds))


def test_a_region_grows_until_enough_of_it_lies_in_the_field(scene: PetScene) -> None:
    for seed in scene.seeds():
        grown = scene.grow(seed)
        if grown is None:
            continue
        region, fraction, seed_suv = grown
        assert scene.field_share(region) >= FIELD_SHARE
        assert scene.suv[region].min() >= min(fraction * seed_suv, scene.floor_suv) - 1e-5


def test_nothing_lies_in_no_field(scene: PetScene) -> None:
    assert scene.field_share(np.zeros(scene.suv.shape, dtype=np.bool_)) == 0.0
