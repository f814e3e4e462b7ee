"""What an epoch sees."""

from __future__ import annotations

import numpy as np
import pytest

from training_export.training.sampling import SAMPLINGS, balanced, oversampled, plain

LABELS = np.repeat([0, 1], [43, 16])


def test_plain_is_every_image_once_in_random_order() -> None:
    order = plain(LABELS, np.random.default_rng(0))
    assert sorted(order) == list(range(59))
    assert list(order) != list(range(59))


def test_balanced_is_as_many_images_half_of_either_class() -> None:
    """The smaller class comes round again before any image comes a third time; the larger one loses some."""
    order = balanced(LABELS, np.random.default_rng(0))
    times = np.bincount(order, minlength=59)
    assert len(order) == 59
    assert np.bincount(LABELS[order]).tolist() == [30, 29]
    assert set(times[:43]) == {0, 1}
    assert set(times[43:]) == {1, 2}


def test_oversampled_is_every_image_and_the_smaller_class_as_often_as_the_larger() -> None:
    order = oversampled(LABELS, np.random.default_rng(0))
    times = np.bincount(order, minlength=59)
    assert np.bincount(LABELS[order]).tolist() == [43, 43]
    assert set(times[:43]) == {1}
    assert set(times[43:]) == {2, 3}


@pytest.mark.parametrize("name", SAMPLINGS)
def test_the_generator_decides_and_classes_are_mixed(name: str) -> None:
    one, same, other = (SAMPLINGS[name](LABELS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()
    assert len(set(LABELS[one[:20]])) == 2
