"""Training examples: the served function makes them, under stored and under imitated proposed regions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from inference.biomarkers.pet_ct_egfr.grid import pet_onto_ct
from inference.biomarkers.pet_ct_egfr.hyperimage import prepare
from inference.models.manifest import Preprocessing
from inference.roi.propose_pet import propose_lesions
from training_export.dataset import (
    SLICES_A_LESION,
    TRAINING_SEED,
    UNSEEN_SEED,
    VALIDATION_SEED,
    Examples,
    joined,
    make_examples,
    phantom_examples,
    proposal_like,
)
from training_export.phantoms import make_phantom

SEED = 5


@pytest.fixture(scope="module")
def examples() -> Examples:
    """The examples of one phantom."""
    return phantom_examples(SEED, Preprocessing())


def test_training_sees_the_bytes_that_are_served(examples: Examples) -> None:
    """A stored primary's hyper-images are byte for byte those of the served ``prepare``."""
    phantom = make_phantom(SEED)
    primary = max(phantom.lesions, key=lambda lesion: lesion.volume_ml)
    served = prepare(phantom.ct_hu, pet_onto_ct(phantom.pet_suv, phantom.ct_hu), primary.mask, Preprocessing()).images
    trained = examples.images[examples.stored_primary]
    assert 1 <= len(trained) == min(len(served), SLICES_A_LESION)
    known = {image.tobytes() for image in served}
    assert all(image.tobytes() in known for image in trained)


def test_examples_carry_their_truth(examples: Examples) -> None:
    """Every image has its phantom's labels and seed."""
    phantom = make_phantom(SEED)
    assert examples.images.shape[1:] == (3, 64, 64)
    assert set(examples.slices("egfr").label) == {phantom.egfr}
    assert set(examples.slices("pdl1").label) == {phantom.pdl1}
    assert set(examples.seed) == {SEED}
    assert 0 < np.count_nonzero(examples.stored_primary) < len(examples.images)


def test_slices_name_their_phantoms(examples: Examples) -> None:
    """Several phantoms as one set: patients in the order of their seeds, whatever the order of the examples."""
    other = replace(examples, seed=np.full(len(examples.seed), SEED - 1))
    slices = joined([examples, other]).slices("egfr")
    assert slices.names == (f"phantom-{SEED - 1}", f"phantom-{SEED}")
    assert slices.patient.tolist() == [1] * len(examples.images) + [0] * len(examples.images)
    np.testing.assert_array_equal(slices.counted, np.tile(examples.stored_primary, 2))
    np.testing.assert_array_equal(slices.batch(np.array([0])), examples.images[:1])


def test_processes_make_what_one_makes() -> None:
    """In the order of the seeds."""
    made = make_examples([SEED, 3], Preprocessing(), 2, Console(quiet=True))
    alone = joined([phantom_examples(seed, Preprocessing()) for seed in (SEED, 3)])
    np.testing.assert_array_equal(made.images, alone.images)
    np.testing.assert_array_equal(made.seed, alone.seed)


def test_imitated_proposals_are_like_real_ones() -> None:
    """The region that training imitates overlaps the one that the service would propose (Dice at least 0.7)."""
    phantom = make_phantom(SEED)
    proposed = [p.on(phantom.ct_hu.geometry) for p in propose_lesions(phantom.pet_suv, phantom.ct_hu)]
    primary = max(phantom.lesions, key=lambda lesion: lesion.volume_ml)
    imitated = proposal_like(phantom, primary, 0.41)
    overlaps = [
        2 * np.count_nonzero(imitated & p) / (np.count_nonzero(imitated) + np.count_nonzero(p)) for p in proposed
    ]
    assert max(overlaps) >= 0.7


def test_seeds_of_training_validation_and_benchmark_are_apart() -> None:
    """No phantom that is measured on was trained on: the ranges leave room for ten thousand each."""
    assert sorted((TRAINING_SEED, VALIDATION_SEED, UNSEEN_SEED)) == [TRAINING_SEED, VALIDATION_SEED, UNSEEN_SEED]
    assert VALIDATION_SEED - TRAINING_SEED >= 10_000
    assert UNSEEN_SEED - VALIDATION_SEED >= 10_000
