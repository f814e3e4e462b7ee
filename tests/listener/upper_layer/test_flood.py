"""One line of a log for many events."""

from __future__ import annotations

from listener.upper_layer.flood import KEYS, Sparingly


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_said_at_once_and_the_next_says_how_many_it_stands_for() -> None:
    clock = Clock()
    said = Sparingly(1.0, clock)
    assert [said.count("a") for _ in range(5)] == [1, 0, 0, 0, 0]
    assert said.count("b") == 1, "another key"
    clock.now += 0.99
    assert said.count("a") == 0
    clock.now += 0.01
    assert [said.count("a"), said.count("a")] == [6, 0]
    clock.now += 100
    assert said.count("a") == 2


def test_memory_is_bounded_whatever_the_number_of_callers() -> None:
    clock = Clock()
    said = Sparingly(1.0, clock)
    for number in range(10 * KEYS):
        clock.now += 0.0001
        assert said.count(number) == 1
    assert len(said._seen) <= KEYS
