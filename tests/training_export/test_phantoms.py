"""Phantoms: what the spec promises (docs/reference/science.md E1), and the same seed gives the same voxels."""

from __future__ import annotations

import numpy as np
import pytest

from egfr_dls.volume import Unit
from inference.imaging.resample import Interpolation, volume_onto
from training_export.phantom_anatomy import CT_GRID, PET_GRID
from training_export.phantoms import Phantom, make_phantom, phantom_labels

SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module", params=SEEDS)
def phantom(request: pytest.FixtureRequest) -> Phantom:
    """One phantom of a few seeds."""
    return make_phantom(request.param)


def test_grids_share_one_frame_of_reference(phantom: Phantom) -> None:
    """PET is 80 x 96 x 112 voxels of 4 mm; the CT is finer in the plane; both are in the same space."""
    assert phantom.pet_suv.geometry == PET_GRID
    assert PET_GRID.shape == (80, 96, 112)
    assert PET_GRID.spacing_mm == (4.0, 4.0, 4.0)
    assert phantom.ct_hu.geometry == CT_GRID
    assert phantom.pet_suv.frame_of_reference_uid == phantom.ct_hu.frame_of_reference_uid
    assert (phantom.pet_suv.unit, phantom.ct_hu.unit) == (Unit.SUVBW, Unit.HOUNSFIELD)


def test_both_grids_cover_the_same_field() -> None:
    """The middle of each PET voxel is the middle of its 2 x 2 CT voxels."""
    z, y, x = np.indices(CT_GRID.shape, dtype=np.float32)
    onto = volume_onto(x, CT_GRID, PET_GRID, Interpolation.LINEAR)
    np.testing.assert_allclose(onto[40, 48], np.arange(112) * 2 + 0.5, atol=1e-4)
    np.testing.assert_allclose(
        volume_onto(y, CT_GRID, PET_GRID, Interpolation.LINEAR)[40, :, 50], np.arange(96) * 2 + 0.5, atol=1e-4
    )
    np.testing.assert_allclose(
        volume_onto(z, CT_GRID, PET_GRID, Interpolation.LINEAR)[:, 48, 50], np.arange(80), atol=1e-4
    )


def test_lesion_truth_agrees_with_its_voxels(phantom: Phantom) -> None:
    """Centre, diameter, volume and SUVmax of each lesion can be read back from mask and PET."""
    assert 1 <= len(phantom.lesions) <= 3
    for lesion in phantom.lesions:
        z, y, x = np.nonzero(lesion.mask)
        index = np.array([x.mean(), y.mean(), z.mean(), 1.0])
        np.testing.assert_allclose((CT_GRID.index_to_mm @ index)[:3], lesion.centre_mm, atol=1.5)
        assert 12.0 <= lesion.diameter_mm <= 55.0
        assert lesion.volume_ml == pytest.approx(np.pi / 6 * lesion.diameter_mm**3 / 1000, rel=0.15)
        on_ct = volume_onto(phantom.pet_suv.voxels, PET_GRID, CT_GRID, Interpolation.NEAREST)
        assert on_ct[lesion.mask].max() == pytest.approx(lesion.suv_max, rel=0.1)


def test_lesions_lie_apart(phantom: Phantom) -> None:
    """No voxel belongs to two lesions."""
    assert np.sum([lesion.mask for lesion in phantom.lesions], axis=0).max() == 1


def test_same_seed_same_voxels_and_uids() -> None:
    """A phantom is a function of its seed."""
    one, two, other = make_phantom(7), make_phantom(7), make_phantom(8)
    assert one.pet_suv.voxels.tobytes() == two.pet_suv.voxels.tobytes()
    assert one.ct_hu.voxels.tobytes() == two.ct_hu.voxels.tobytes()
    assert one.study_instance_uid == two.study_instance_uid != other.study_instance_uid
    assert one.ct_hu.voxels.tobytes() != other.ct_hu.voxels.tobytes()


def test_labels_are_balanced_and_independent() -> None:
    """Each of the four combinations is about a quarter, so neither label tells of the other."""
    labels = [phantom_labels(seed) for seed in range(1000)]
    for pair in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert 200 <= labels.count(pair) <= 300
    phantom = make_phantom(9)
    assert (phantom.egfr, phantom.pdl1) == phantom_labels(9)


def test_labels_do_not_show_in_size_or_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed with other labels has the same lesions, and away from them the same voxels."""
    mutant_positive, wild_negative = (_with_labels(monkeypatch, 11, labels) for labels in ((1, 1), (0, 0)))
    lesions = np.zeros(CT_GRID.shape, dtype=bool)
    for one, other in zip(mutant_positive.lesions, wild_negative.lesions, strict=True):
        assert (one.centre_mm, one.diameter_mm) == (other.centre_mm, other.diameter_mm)
        assert one.suv_max == pytest.approx(other.suv_max, rel=0.15)
        lesions |= one.mask
    np.testing.assert_array_equal(mutant_positive.ct_hu.voxels[~lesions], wild_negative.ct_hu.voxels[~lesions])


def _with_labels(monkeypatch: pytest.MonkeyPatch, seed: int, labels: tuple[int, int]) -> Phantom:
    monkeypatch.setattr("training_export.phantoms.phantom_labels", lambda _: labels)
    return make_phantom(seed)


def test_mutant_lesions_hold_bubbles_and_wild_type_ones_do_not() -> None:
    """The EGFR signal is on CT alone."""
    for seed in range(1, 7):
        phantom = make_phantom(seed)
        share = [float((phantom.ct_hu.voxels[lesion.mask] < -300).mean()) for lesion in phantom.lesions]
        assert all(0.08 < s < 0.3 for s in share) if phantom.egfr else all(s == 0 for s in share)
