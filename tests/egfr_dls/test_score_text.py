"""A printed score never lies on the other side of its cut-off."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egfr_dls.score_text import is_high, printed_score, score_text

UNIT = st.floats(0, 1)
CUT_OFFS = st.one_of(st.just(0.5), st.floats(0.01, 0.99))


@given(UNIT, CUT_OFFS)
def test_the_printed_class_is_the_class_of_the_score(score: float, cut_off: float) -> None:
    """Whatever the cut-off, four decimals never change high to low or back."""
    assert is_high(float(score_text(score, cut_off)), cut_off) == is_high(score, cut_off)


@given(CUT_OFFS, st.integers(-40, 40))
def test_also_within_a_few_representable_numbers_of_the_cut_off(cut_off: float, steps: int) -> None:
    """The nearest neighbours of the cut-off are the hardest."""
    score = cut_off
    for _ in range(abs(steps)):
        score = math.nextafter(score, math.copysign(math.inf, steps))
    assert is_high(printed_score(score, cut_off), cut_off) == is_high(score, cut_off)


@given(UNIT, CUT_OFFS)
def test_four_decimals_within_one_step(score: float, cut_off: float) -> None:
    """Exactly four decimals, less than one step away; printing a printed score changes nothing."""
    text = score_text(score, cut_off)
    assert len(text.split(".")[1]) == 4
    assert abs(float(text) - score) < 1e-4
    assert score_text(float(text), cut_off) == text


@pytest.mark.parametrize(
    ("score", "cut_off", "text"),
    [
        (0.49996, 0.5, "0.4999"),
        (0.49994, 0.5, "0.4999"),
        (0.5, 0.5, "0.5000"),
        (0.50004, 0.5, "0.5000"),
        (0.12346, 0.5, "0.1235"),
        (0.0, 0.5, "0.0000"),
        (0.99999, 0.5, "1.0000"),
        (0.33334, 0.33333, "0.3334"),
    ],
)
def test_examples(score: float, cut_off: float, text: str) -> None:
    """Cut instead of rounded only where rounding would cross."""
    assert score_text(score, cut_off) == text


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_what_is_no_number_is_not_printed(score: float) -> None:
    """A missing score has no text form: that is a defect, not "nan"."""
    with pytest.raises(ValueError, match="must stay None"):
        score_text(score, 0.5)
