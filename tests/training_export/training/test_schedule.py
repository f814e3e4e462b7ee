"""The learning rate over the steps."""

from __future__ import annotations

import pytest

from training_export.training.schedule import one_cycle


def test_it_rises_to_the_peak_and_falls_to_almost_nothing() -> None:
    rates = [one_cycle(step, 101, 2.0, 0.3) for step in range(101)]
    assert rates[0] == pytest.approx(2.0 / 25)
    assert rates[30] == pytest.approx(2.0)
    assert rates[100] == pytest.approx(2e-5)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)


@pytest.mark.parametrize("warm_up", [0.0, 1.0])
def test_it_may_only_fall_or_only_rise(warm_up: float) -> None:
    rates = [one_cycle(step, 11, 1.0, warm_up) for step in range(11)]
    assert rates == sorted(rates, reverse=not warm_up)
    assert max(rates) == 1.0


def test_one_step_is_at_the_peak() -> None:
    assert one_cycle(0, 1, 1.0, 0.3) == 1.0
