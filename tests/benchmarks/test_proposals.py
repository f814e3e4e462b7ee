"""The harder phantoms have the difficulty that they name, the seeds are kept apart, and the table counts right."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from benchmarks.proposals.difficulties import Difficulty
from benchmarks.proposals.hard_phantom import HardPhantom, _breathing, _grid, make_hard_phantom
from benchmarks.proposals.rows import DEVELOPMENT_SEEDS, EVALUATION_SEEDS, ROWS, SEEDS_A_ROW, row_seeds
from benchmarks.proposals.table import goal_table, summary
from benchmarks.proposals.tally import NO_HOT_SPOT, LesionTally, ScanTally, dice, tally_seed
from inference.imaging.resample import Interpolation, volume_onto
from training_export.dataset import TRAINING_SEED, UNSEEN_SEED, VALIDATION_SEED

SEED = DEVELOPMENT_SEEDS[7]
DECOYS = (
    Difficulty.NODES,
    Difficulty.PNEUMONIA,
    Difficulty.MYOCARDIUM,
    Difficulty.BLADDER,
    Difficulty.JOINTS,
    Difficulty.VOCAL_CORDS,
)


def hard(*difficulties: Difficulty) -> HardPhantom:
    return make_hard_phantom(SEED, frozenset(difficulties))


def test_the_same_seed_gives_the_same_voxels() -> None:
    one, two = hard(Difficulty.BREATHING).phantom, hard(Difficulty.BREATHING).phantom
    assert one.pet_suv.voxels.tobytes() == two.pet_suv.voxels.tobytes()
    assert one.ct_hu.voxels.tobytes() == two.ct_hu.voxels.tobytes()
    other = make_hard_phantom(SEED + 1, frozenset({Difficulty.BREATHING})).phantom
    assert one.pet_suv.voxels.tobytes() != other.pet_suv.voxels.tobytes()


@pytest.mark.parametrize("difficulty", DECOYS)
def test_what_is_hot_and_no_lesion_is_there_and_apart_from_the_lesions(difficulty: Difficulty) -> None:
    made = hard(difficulty)
    phantom, mask = made.phantom, made.decoys[difficulty.value]
    uptake = volume_onto(phantom.pet_suv.voxels, phantom.pet_suv.geometry, phantom.ct_hu.geometry, Interpolation.LINEAR)
    assert uptake[mask].max() > 1.5
    assert not any((mask & lesion.mask).any() for lesion in phantom.lesions)


def test_the_field_reaches_to_where_the_difficulty_lies() -> None:
    chest, neck, pelvis = (_grid(frozenset(d), 2.0) for d in ((), (Difficulty.VOCAL_CORDS,), (Difficulty.BLADDER,)))
    tops = [grid.origin_mm[2] + grid.shape[0] * grid.spacing_mm[0] for grid in (chest, neck, pelvis)]
    assert tops[1] - tops[0] == pytest.approx(75.0, abs=4.0)
    assert tops[2] == pytest.approx(tops[0], abs=4.0)
    assert chest.origin_mm[2] - pelvis.origin_mm[2] == pytest.approx(225.0, abs=1e-6)


def test_breathing_averages_along_the_patient_and_leaves_the_apex() -> None:
    """Each measured slice is a mean of slices; the base moves by 8 to 20 mm, the apex not at all."""
    grid = _grid(frozenset(), 2.0)
    matrix = _breathing(grid, np.random.default_rng(1))
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-5)
    assert matrix[-1, -1] == pytest.approx(1.0)
    reach_mm = np.count_nonzero(matrix[len(matrix) // 4] > 0) * grid.spacing_mm[0]
    assert 4.0 < reach_mm < 30.0


def test_few_counts_are_noise() -> None:
    """Measured in the chest wall at the height of the neck of the field, where nothing else is drawn."""
    quiet, noisy = (hard(*d).phantom.pet_suv.voxels[-3:, 40:56, 72:80].std() for d in ((), (Difficulty.LOW_COUNT,)))
    assert 2.5 < noisy / quiet < 5.0


def test_small_lesions_are_small() -> None:
    assert all(8.0 <= lesion.diameter_mm <= 12.0 for lesion in hard(Difficulty.SMALL).phantom.lesions)


def test_no_seed_serves_twice() -> None:
    """Not for developing and for judging, not in two rows, not for training a network."""
    assert not set(DEVELOPMENT_SEEDS) & set(EVALUATION_SEEDS)
    for seeds in (DEVELOPMENT_SEEDS, EVALUATION_SEEDS):
        rows = [set(row_seeds(row, seeds, SEEDS_A_ROW)) for row in ROWS]
        assert not any(a & b for a, b in combinations(rows, 2))
        assert set().union(*rows) <= set(seeds)
        assert min(seeds) > max(TRAINING_SEED, VALIDATION_SEED, UNSEEN_SEED) + 1000
    with pytest.raises(ValueError, match="1 to 100"):
        row_seeds(ROWS[0], EVALUATION_SEEDS, SEEDS_A_ROW + 1)


def test_a_scan_is_tallied_with_its_lesions() -> None:
    row = next(row for row in ROWS if row.difficulties == frozenset({Difficulty.JOINTS}))
    tally = tally_seed(row, row_seeds(row, DEVELOPMENT_SEEDS, 1)[0])
    assert len(tally.lesions) >= 1
    assert all((lesion.missed_because is None) == (lesion.dice > 0.3) for lesion in tally.lesions)
    assert tally.first_is_right
    assert 0 < tally.cpu_seconds < 30


FOUND = LesionTally(20.0, 6.0, 0.95, None)
MISSED = LesionTally(15.0, 2.0, 0.0, NO_HOT_SPOT)


def scan(*lesions: LesionTally, false: tuple[str, ...] = (), right: bool = True) -> ScanTally:
    return ScanTally(ROWS[0], 1, lesions, false, right, 0.5)


def test_figures_and_whether_a_goal_is_met() -> None:
    good = summary([scan(FOUND, FOUND), scan(FOUND)])
    assert (good.sensitivity, good.false_a_scan, good.dice[0], good.first_right) == (1.0, 0.0, 0.95, 2)
    assert goal_table([scan(FOUND)]).count("| met |") == 4
    bad = goal_table([scan(FOUND, MISSED, MISSED, false=("lymph nodes",), right=False)])
    assert bad.count("**not met**") == 4
    assert "0.333 (1 of 3)" in bad


def test_dice_of_what_is_empty_is_nothing() -> None:
    empty, full = np.zeros((2, 2, 2), dtype=np.bool_), np.ones((2, 2, 2), dtype=np.bool_)
    assert (dice(empty, empty), dice(empty, full), dice(full, full)) == (0.0, 0.0, 1.0)
