"""What is learnt from is looked at once, whole, before anything is learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.training_export.training.slices_of import stripes
from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.slices import Slices, checked

SHAPE = (3, 64, 64)


def refused(slices: Slices) -> TrainingRefusedError:
    with pytest.raises(TrainingRefusedError) as error:
        checked(slices, SHAPE)
    return error.value


def with_image(slices: Slices, index: int, image: Any) -> Slices:
    images = slices.images.copy()
    images[index] = image
    return replace(slices, images=images)


def test_good_slices_have_a_digest_of_pixels_labels_and_patients() -> None:
    good = stripes(6)
    digest = checked(good, SHAPE)
    assert digest == checked(stripes(6), SHAPE)
    others = [
        with_image(good, 0, good.images[0] + 1),
        replace(good, label=1 - good.label),
        replace(good, names=("other", *good.names[1:])),
    ]
    assert digest not in {checked(other, SHAPE) for other in others}


def test_the_images_of_some_patients_are_theirs_alone() -> None:
    part = stripes(6, slices=3).of([4, 1])
    assert set(part.patient.tolist()) == {1, 4}
    assert len(part) == 6
    np.testing.assert_array_equal(part.batch(np.array([0])), stripes(6, slices=3).images[3:4])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    """By patient and image."""
    images = stripes(6).images.copy()
    images[5, 2, 3, 4] = value
    error = refused(replace(stripes(6), images=images))
    assert (error.reason, "image 5 (patient P002)" in error.message) == (Reason.NOT_FINITE, True)


def test_one_patient_with_two_labels_is_refused() -> None:
    label = stripes(6).label.copy()
    label[3] = 0
    error = refused(replace(stripes(6), label=label))
    assert (error.reason, "P001" in error.message) == (Reason.LABELS_CONTRADICT, True)


def test_a_label_beyond_0_and_1_is_refused() -> None:
    assert refused(replace(stripes(6), label=stripes(6).label * 2)).reason is Reason.LABELS_CONTRADICT


def test_one_image_under_two_patients_is_refused() -> None:
    """A patient under two names would train and be measured on."""
    error = refused(with_image(stripes(6), 11, stripes(6).images[0]))
    assert error.reason is Reason.SLICE_TWICE
    assert "P000 and P005" in error.message


def test_one_image_twice_of_the_same_patient_is_no_fault() -> None:
    assert checked(with_image(stripes(6), 1, stripes(6).images[0]), SHAPE)


def test_wrong_shapes_are_refused() -> None:
    good = stripes(4)
    assert refused(stripes(4, size=32)).reason is Reason.SHAPE_WRONG
    assert refused(replace(good, images=good.images.astype(np.float64))).reason is Reason.SHAPE_WRONG
    assert refused(replace(good, label=good.label[:-1])).reason is Reason.SHAPE_WRONG
    assert refused(replace(good, counted=good.counted[:-1])).reason is Reason.SHAPE_WRONG


def test_nothing_is_refused() -> None:
    assert refused(stripes(4).of([])).reason is Reason.DATA_UNREADABLE


def test_a_patient_without_a_score_is_refused() -> None:
    counted = stripes(4).counted.copy()
    counted[:2] = False
    error = refused(replace(stripes(4), counted=counted))
    assert (error.reason, "P000" in error.message) == (Reason.DATA_UNREADABLE, True)
