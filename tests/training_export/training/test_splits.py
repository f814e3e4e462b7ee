"""Splits by patient: nobody in two parts, each part with its share of both classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.splits import Split, check_numbers, folds, hold_out, stated


def labels_of(negatives: int, positives: int) -> np.ndarray:
    """Return labels in an order that is not sorted by class."""
    return np.random.default_rng(0).permutation(np.repeat([0, 1], [negatives, positives]))


def test_a_split_with_a_patient_in_two_parts_cannot_be_made() -> None:
    """Not even by hand."""
    for parts in (((1, 2), (2,), ()), ((1,), (2,), (1,)), ((1,), (2, 2), ())):
        with pytest.raises(TrainingRefusedError) as refused:
            Split(*parts)
        assert refused.value.reason is Reason.PATIENT_IN_TWO_SPLITS


@given(st.integers(3, 60), st.integers(3, 60), st.integers(0, 5))
def test_hold_out_has_everyone_once_and_both_classes_everywhere(negatives: int, positives: int, seed: int) -> None:
    labels = labels_of(negatives, positives)
    split = hold_out(labels, 0.2, 0.2, np.random.default_rng(seed))
    parts = (split.training, split.validation, split.test)
    assert sorted(p for part in parts for p in part) == list(range(len(labels)))
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        for of_class, number in ((0, negatives), (1, positives)):
            assert abs(int((labels[list(part)] == of_class).sum()) - share * number) <= 1
            assert (labels[list(part)] == of_class).any()


@given(st.integers(5, 60), st.integers(5, 60), st.integers(2, 5))
def test_folds_validate_everyone_once_and_are_alike(negatives: int, positives: int, count: int) -> None:
    labels = labels_of(negatives, positives)
    made = folds(labels, count, np.random.default_rng(1))
    assert sorted(p for split in made for p in split.validation) == list(range(len(labels)))
    sizes = [len(split.validation) for split in made]
    assert max(sizes) - min(sizes) <= 1
    for split in made:
        assert sorted(split.training + split.validation) == list(range(len(labels)))
        assert split.test == ()
        of_class = np.bincount(labels[list(split.validation)], minlength=2)
        assert np.abs(of_class - np.array([negatives, positives]) / count).max() < 1


def test_the_papers_59_patients_in_five_folds() -> None:
    """43 wild type and 16 mutant (docs/reference/science.md F): each fold has 3 or 4 mutants."""
    labels = labels_of(43, 16)
    mutants = [int(labels[list(split.validation)].sum()) for split in folds(labels, 5, np.random.default_rng(0))]
    assert sorted(mutants) == [3, 3, 3, 3, 4]


def test_a_split_leaves_somebody_to_train() -> None:
    """Two shares of nearly a half, each rounded up, would take the four of a class."""
    with pytest.raises(TrainingRefusedError, match="are left to train"):
        hold_out(labels_of(4, 4), 0.49, 0.49, np.random.default_rng(0))


def test_the_seed_decides() -> None:
    labels = labels_of(30, 30)
    one, same, other = (hold_out(labels, 0.2, 0.2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("negatives", "positives", "reason"),
    [
        (3, 2, Reason.TOO_FEW_PATIENTS),
        (40, 0, Reason.ONE_CLASS),
        (0, 40, Reason.ONE_CLASS),
        (0, 0, Reason.TOO_FEW_PATIENTS),
    ],
)
def test_too_few_and_one_class_are_refused(negatives: int, positives: int, reason: Reason) -> None:
    """Five patients are said in numbers."""
    with pytest.raises(TrainingRefusedError, match=f"{negatives + positives}") as refused:
        check_numbers(labels_of(negatives, positives), 10)
    assert refused.value.reason is reason


def test_a_stated_split_is_kept() -> None:
    """Hospitals, as the paper has them."""
    names, labels = [f"P{n}" for n in range(6)], np.array([0, 1, 0, 1, 0, 1])
    parts = dict(zip(names, ["training", "training", "validation", "validation", "test", "test"], strict=True))
    assert stated(names, labels, parts) == Split((0, 1), (2, 3), (4, 5))


@pytest.mark.parametrize(
    ("parts", "reason", "named"),
    [
        (["training", "training", "validation", "validation", "test", ""], Reason.DATA_UNREADABLE, "P5"),
        (["training", "training", "validation", "validation", "test", "train"], Reason.DATA_UNREADABLE, "train"),
        (["training", "training", "validation", "training", "test", "test"], Reason.ONE_CLASS, "part validation"),
        (["training"] * 4 + ["test"] * 2, Reason.TOO_FEW_PATIENTS, "part validation"),
    ],
)
def test_a_stated_split_that_cannot_be_used_is_refused(parts: list[str], reason: Reason, named: str) -> None:
    names, labels = [f"P{n}" for n in range(6)], np.array([0, 1, 0, 1, 0, 1])
    with pytest.raises(TrainingRefusedError, match=named) as refused:
        stated(names, labels, dict(zip(names, parts, strict=True)))
    assert refused.value.reason is reason
