"""Grey levels and standard scores do what the published code does, and never divide by zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inference.imaging.fusion import FUSIONS
from inference.imaging.normalize import (
    floor_second_smallest,
    is_flat,
    min_max,
    quantise_8bit,
    resize_nearest,
    z_score,
)

IMAGES = arrays(np.float64, (6, 6), elements=st.floats(-1e4, 1e4))


def test_rounding_is_half_up() -> None:
    """0.5 grey levels go up, also where NumPy would round to even."""
    image = np.array([[0.0, 0.5, 1.5, 2.4999, 255.0]])
    assert quantise_8bit(image).tolist() == [[0.0, 1.0, 2.0, 2.0, 255.0]]


@given(IMAGES)
def test_grey_levels_fill_the_8_bit_range(image: np.ndarray) -> None:
    """Whole numbers from 0 to 255, or all 0 for an image of one value."""
    grey = quantise_8bit(image)
    assert np.array_equal(grey, np.rint(grey))
    assert grey.min() == 0.0
    assert grey.max() == (0.0 if is_flat(image) else 255.0)


@pytest.mark.parametrize(("n", "size"), [(128, 64), (96, 64), (64, 64), (50, 64), (127, 64), (3, 1)])
def test_nearest_resize_follows_its_formula(n: int, size: int) -> None:
    """index(i) = min(floor((i + 0.5) N / n), N - 1), on both axes."""
    image = np.arange(n * n, dtype=np.float64).reshape(n, n)
    wanted = [min(int((i + 0.5) * n / size), n - 1) for i in range(size)]
    assert np.array_equal(resize_nearest(image, size), image[np.ix_(wanted, wanted)])


def test_from_128_to_64_takes_every_second_pixel_from_the_second() -> None:
    """The published arrays start at index 1."""
    image = np.random.default_rng(0).random((128, 128))
    assert np.array_equal(resize_nearest(image, 64), image[1::2, 1::2])


@pytest.mark.parametrize(
    ("levels", "floored"),
    [([0, 3, 7, 7], [3, 3, 7, 7]), ([0, 7, 7, 0], [0, 7, 7, 0]), ([5, 5, 5, 5], [5, 5, 5, 5])],
    ids=["three levels", "two levels", "one level"],
)
def test_the_smallest_level_is_raised_to_the_second(levels: list[float], floored: list[float]) -> None:
    """Skipped for fewer than three distinct levels."""
    image = np.array(levels, dtype=np.float64).reshape(2, 2)
    assert floor_second_smallest(image).ravel().tolist() == floored


@pytest.mark.parametrize("ddof", [0, 1])
def test_z_scores_have_mean_0_and_standard_deviation_1(ddof: int) -> None:
    """With the recipe's own degrees of freedom."""
    image = np.random.default_rng(1).gamma(2.0, 3.0, (64, 64))
    z = z_score(image, ddof)
    assert z.mean() == pytest.approx(0, abs=1e-12)
    assert z.std(ddof=ddof) == pytest.approx(1, abs=1e-12)


@given(st.floats(-1e6, 1e6), st.sampled_from(sorted(FUSIONS)))
def test_an_image_of_one_value_gives_zeros(value: float, fusion: str) -> None:
    """No division by zero in any step."""
    flat = np.full((4, 4), value)
    assert not min_max(flat).any()
    assert not z_score(flat, 1).any()
    assert not FUSIONS[fusion](flat, flat, 1).any()


def test_a_flat_channel_leaves_the_fused_image_to_the_other() -> None:
    """Its share in the sum is 0 (docs/reference/science.md A2)."""
    pet, ct = np.random.default_rng(2).random((8, 8)), np.full((8, 8), 40.0)
    np.testing.assert_allclose(FUSIONS["sum_of_minmax"](pet, ct, 1), z_score(pet, 1), atol=1e-12)


@given(IMAGES, IMAGES, st.floats(0.01, 100), st.floats(-1000, 1000))
def test_the_fused_image_does_not_depend_on_the_scale_of_either(
    pet: np.ndarray, ct: np.ndarray, scale: float, shift: float
) -> None:
    """Both are min-maxed before they are added: neither outweighs the other by its unit."""
    assume(np.ptp(pet) > 1 and np.ptp(ct) > 1)
    fused = FUSIONS["sum_of_minmax"](pet, ct, 1)
    assume(np.ptp(min_max(pet) + min_max(ct)) > 1e-3)
    np.testing.assert_allclose(FUSIONS["sum_of_minmax"](pet * scale + shift, ct, 1), fused, atol=1e-6)
    np.testing.assert_allclose(FUSIONS["sum_of_minmax"](pet, ct * scale + shift, 1), fused, atol=1e-6)
