"""What a report is made of, whichever form it takes; and how its numbers are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training_export.evaluation.plots import Drawn

NOT_ESTIMABLE = "not estimable"


@dataclass(frozen=True)
class Paragraph:
    """A sentence or some; ``caution`` where the reader must not miss it."""

    text: str
    caution: bool = False


@dataclass(frozen=True)
class Grid:
    """A table: the first column names, the others hold numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Figures that stand side by side where there is room."""

    figures: tuple[Drawn, ...]


Part = Paragraph | Grid | Pictures


@dataclass(frozen=True, eq=False)
class Section:
    """A heading and what follows it."""

    title: str
    parts: tuple[Part, ...]


def number(value: float | None, digits: int = 2) -> str:
    """Return a number as the report prints it."""
    return NOT_ESTIMABLE if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, interval: Sequence[float | None] | None, digits: int = 2) -> str:
    """Return ``0.81 (0.74–0.88)``; a bound that was not reached is a dash."""
    if value is None:
        return NOT_ESTIMABLE
    if interval is None:
        return f"{number(value, digits)} (interval {NOT_ESTIMABLE})"
    low, high = ("–" if bound is None else f"{bound:.{digits}f}" for bound in interval)
    return f"{number(value, digits)} ({low} to {high})"


def p_text(p: float | None) -> str:
    """Return a p-value; small ones as a bound."""
    if p is None:
        return NOT_ESTIMABLE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
