"""What is no lesion, told by its outline: one test for each rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from egfr_dls.volume import FloatVolume, Geometry, Mask
from inference.roi.lesion_signs import Signs, read_signs, unlike_a_lesion
from inference.roi.outline import Outline
from inference.roi.proposal_rules import Rejection

SHAPE = (30, 30, 30)
GRID = Geometry(SHAPE, (0.0, 0.0, 0.0), (2.0, 2.0, 2.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
LESION = Signs(volume_ml=5.0, contrast=4.0, air_contact=0.8, haze=0.1)


def ball(radius: float) -> Mask:
    inside: Mask = ((np.indices(SHAPE) - 15.0) ** 2).sum(axis=0) <= radius**2
    return inside


def signs(hu: FloatVolume, plateau: float = 6.0, background: float = 1.5) -> Signs:
    suv = np.ones(SHAPE, dtype=np.float32)
    return read_signs(Outline(ball(6.0), GRID, suv, hu.astype(np.float32), plateau, background, 2.0))


def test_signs_of_a_solid_lesion_in_the_lung() -> None:
    found = signs(np.where(ball(6.0), 40.0, -830.0))
    assert found.volume_ml == pytest.approx(ball(6.0).sum() * 0.008)
    assert found.contrast == pytest.approx(4.0)
    assert found.air_contact == 1.0
    assert found.haze == 0.0
    assert unlike_a_lesion(found, 7.0) is None


def test_signs_of_a_node_in_the_mediastinum() -> None:
    found = signs(np.full(SHAPE, 40.0), plateau=2.4)
    assert found.air_contact == 0.0
    assert found.contrast == pytest.approx(1.6)
    assert unlike_a_lesion(found, 3.0) is Rejection.NO_CONTACT


def test_signs_of_an_infiltrate() -> None:
    found = signs(np.select([ball(6.0), ball(11.0)], [-100.0, -450.0], -830.0))
    assert found.haze > 0.8
    assert found.hazy
    assert not signs(np.where(ball(6.0), 40.0, -830.0)).hazy


def test_half_in_the_wall_half_of_the_surface_touches_air() -> None:
    hu = np.where(ball(6.0) | (np.indices(SHAPE)[2] > 15), 40.0, -830.0)
    assert 0.4 < signs(hu).air_contact < 0.75


@pytest.mark.parametrize(
    ("change", "seed_suv", "reason"),
    [
        ({"volume_ml": 0.1}, 7.0, Rejection.TOO_SMALL),
        ({"air_contact": 0.05}, 7.0, Rejection.NO_CONTACT),
        ({"air_contact": 0.3}, 2.2, Rejection.WEAK),
        ({"air_contact": 0.3, "contrast": 1.8}, 3.0, Rejection.NO_CONTRAST),
        ({}, 7.0, None),
        ({}, 1.6, None),
        ({"contrast": 1.8}, 3.0, None),
        ({"air_contact": 0.3}, 3.0, None),
        ({"haze": 0.9}, 3.0, None),
    ],
    ids=[
        "too small",
        "deep",
        "weak among tissue",
        "pale among tissue",
        "lesion",
        "weak in lung",
        "pale in lung",
        "hilar",
        "hazy",
    ],
)
def test_each_rule_by_one_change(change: dict[str, float], seed_suv: float, reason: Rejection | None) -> None:
    """Infiltrates are no matter of one region: they are passed over only beside a solid lesion."""
    assert unlike_a_lesion(replace(LESION, **change), seed_suv) is reason
