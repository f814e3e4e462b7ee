"""The outline of a hot region: PET decides against tissue, CT against air."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from egfr_dls.volume import FloatVolume, Geometry, Mask, Unit, Volume
from inference.imaging.resample import mask_onto
from inference.roi.outline import Outline, outline
from inference.roi.proposal_rules import CONTRAST_FRACTION, GROWS_MM, MOST_SUV

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SEARCH = Geometry((24, 24, 24), (0.0, 0.0, 0.0), (4.0, 4.0, 4.0), AXIAL)
FINE = Geometry((47, 47, 47), (0.0, 0.0, 0.0), (2.0, 2.0, 2.0), AXIAL)
CENTRE_MM = 46.0
SIGMA = 6.5 / 2.355 / 2.0  # voxels of FINE


def ball(grid: Geometry, radius_mm: float, shift_mm: float = 0.0) -> Mask:
    """A ball whose middle is shifted along the patient."""
    squares = [
        (np.indices(grid.shape)[a] * grid.spacing_mm[a] - CENTRE_MM - (shift_mm if a == 0 else 0.0)) ** 2
        for a in range(3)
    ]
    inside: Mask = sum(squares) <= radius_mm**2
    return inside


def volume(voxels: FloatVolume, unit: Unit) -> Volume:
    return Volume(voxels.astype(np.float32), FINE, unit, "1.2.3", "1.2.4", ())


def drawn(activity: FloatVolume, hu: FloatVolume, region: Mask, others: Mask | None = None) -> Outline:
    pet = volume(ndimage.gaussian_filter(activity, SIGMA), Unit.SUVBW)
    nothing = np.zeros(SEARCH.shape, dtype=np.bool_)
    return outline(region, nothing if others is None else others, SEARCH, pet, volume(hu, Unit.HOUNSFIELD))


def dice(found: Outline, truth: Mask) -> float:
    mask = mask_onto(found.mask, found.geometry, FINE)
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


LESION = ball(FINE, 14.0)
IN_LUNG = np.where(LESION, 35.0, -830.0)


def test_a_lesion_in_the_lung_is_outlined_as_it_was_drawn() -> None:
    found = drawn(np.where(LESION, 6.0, 0.5), IN_LUNG, ball(SEARCH, 10.0))
    assert dice(found, LESION) > 0.95
    assert found.background_suv == pytest.approx(0.5, abs=0.05)
    assert found.plateau_suv == pytest.approx(6.0, rel=0.05)
    assert found.threshold_suv == pytest.approx(0.5 + CONTRAST_FRACTION * 5.5, rel=0.05)


def test_against_tissue_the_contrast_decides() -> None:
    """In a chest wall or mediastinum of SUV 1.6, 41 % of a peak of 3 would be all of it."""
    found = drawn(np.where(LESION, 3.4, 1.6), np.full(FINE.shape, 40.0), ball(SEARCH, 10.0))
    assert found.background_suv == pytest.approx(1.6, abs=0.05)
    assert dice(found, LESION) > 0.85


def test_lung_that_breathing_lit_up_is_cut_off_by_the_ct() -> None:
    """PET is smeared by 16 mm along the patient; the CT holds one moment."""
    activity = np.mean([np.where(ball(FINE, 14.0, s), 6.0, 0.5) for s in range(-8, 9, 2)], axis=0)
    found = drawn(activity, IN_LUNG, ball(SEARCH, 12.0))
    assert dice(found, LESION) > 0.9
    uncut = found.suv >= found.threshold_suv
    assert uncut.sum() > 1.15 * found.mask.sum()


def test_where_the_ct_shows_another_moment_pet_alone_decides() -> None:
    """The CT has nothing where the PET is hot: the outline is not emptied."""
    found = drawn(np.where(LESION, 6.0, 0.5), np.full(FINE.shape, -830.0), ball(SEARCH, 10.0))
    assert dice(found, LESION) > 0.8


def test_bubbles_and_a_cold_core_belong_to_the_lesion() -> None:
    """An air bronchogram on CT and necrosis on PET are inside."""
    rng = np.random.default_rng(3)
    bubbles = ball(FINE, 11.0) & (rng.random(FINE.shape) < 0.15)
    core = ball(FINE, 6.0)
    found = drawn(
        np.select([core, LESION], [0.6, 6.0], 0.5),
        np.where(bubbles, -600.0, IN_LUNG),
        ball(SEARCH, 12.0) & ~ball(SEARCH, 5.0),
    )
    assert dice(found, LESION) > 0.93


def test_the_colder_part_of_a_very_hot_mass_is_mass_too() -> None:
    """A third of SUV 30 would leave out what is 6; no outline needs more than SUV 4."""
    hot = LESION & (np.indices(FINE.shape)[2] > 20)
    found = drawn(np.select([hot, LESION], [30.0, 6.0], 0.5), IN_LUNG, mask_onto(hot, FINE, SEARCH))
    assert found.threshold_suv == MOST_SUV
    assert dice(found, LESION) > 0.9


def test_an_outline_stays_near_its_region_and_off_the_others() -> None:
    whole = np.where(ball(FINE, 30.0), 5.0, 0.5)
    region = ball(SEARCH, 8.0)
    others = np.zeros(SEARCH.shape, dtype=np.bool_)
    others[:, :, :11] = True
    found = drawn(whole, np.full(FINE.shape, 40.0), region & ~others, others)
    on_search = mask_onto(found.mask, found.geometry, SEARCH)
    assert not (on_search & others).any()
    assert ndimage.distance_transform_edt(~(region & ~others), sampling=4.0)[on_search].max() <= GROWS_MM + 4.0


def test_a_vessel_that_hangs_on_is_no_part() -> None:
    """A thread of tissue, one voxel wide, lit up by the lesion's blur."""
    hu = IN_LUNG.copy()
    hu[23, 23, :] = 40.0
    found = drawn(np.where(LESION, 6.0, 0.5), hu, ball(SEARCH, 10.0))
    beyond = mask_onto(found.mask, found.geometry, FINE) & ~ball(FINE, 16.0)
    assert not beyond.any()


def test_a_region_outside_the_ct_is_outlined_by_pet_alone() -> None:
    pet = volume(ndimage.gaussian_filter(np.where(LESION, 6.0, 0.5), SIGMA), Unit.SUVBW)
    far = Geometry((4, 4, 4), (900.0, 900.0, 900.0), (2.0, 2.0, 2.0), AXIAL)
    elsewhere = Volume(np.zeros((4, 4, 4), dtype=np.float32), far, Unit.HOUNSFIELD, "1.2.5", "1.2.4", ())
    found = outline(ball(SEARCH, 10.0), np.zeros(SEARCH.shape, dtype=np.bool_), SEARCH, pet, elsewhere)
    assert dice(found, LESION) > 0.8
