"""Waiting for a condition, with a limit; the only place of these tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LIMIT_SECONDS = 120.0  # generous: the machine may be shared
Value = TypeVar("Value")


def wait_until(
    condition: Callable[[], Value],
    what: str,
    *,
    seconds: float = LIMIT_SECONDS,
    every_seconds: float = 0.05,
    context: Callable[[], str] = str,
) -> Value:
    """Return the first true value of ``condition``; fail, with ``context``, when there was none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not seen within {seconds:g} s: {what}\n{context()}")
        time.sleep(every_seconds)
    return value
