"""How long each step of an analysis takes, and the word to whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

Progress = Callable[[str], None]  # is told the name of each step as it begins


def silent(_step: str) -> None:
    """Tell nobody."""


@dataclass
class Steps:
    """The wall-clock seconds of each step so far."""

    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step; a step that fails is timed too."""
        self.progress(name)
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - started
