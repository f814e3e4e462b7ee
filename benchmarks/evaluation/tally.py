"""How often an interval held the truth."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.rows import Optimism, Row
from training_export.evaluation.estimates import NotEstimableError
from training_export.evaluation.threshold import wilson

SAID = 0.95


@dataclass(frozen=True)
class Coverage:
    """One row over its cohorts; ``none`` of them gave no interval, and count neither way."""

    row: Row
    cohorts: int
    none: int
    held: int
    below: int  # the interval lies below the truth
    above: int
    mean: float

    @property
    def share(self) -> float:
        """The share of intervals that held the truth."""
        return self.held / (self.cohorts - self.none)


def cover(row: Row, cohorts: int, seed: int) -> Coverage:
    """Draw cohorts and count; a row's seed is its own, so that rows may be left out."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{row.figure}{row.setting}{row.truth}".encode())])
    none = held = below = above = 0
    values = []
    for _ in range(cohorts):
        try:
            found = row.draw(rng)
        except NotEstimableError:
            none += 1
            continue
        values.append(found.value)
        below += found.high < row.truth
        above += found.low > row.truth
        held += found.low <= row.truth <= found.high
    return Coverage(row, cohorts, none, held, below, above, float(np.mean(values)))


def coverage_table(found: Sequence[Coverage]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| figure | patients | truth | mean estimate | intervals that hold it (95 % of that) | below / above it | none |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for c in found:
        low, high = wilson(c.held, c.cohorts - c.none)
        lines.append(
            f"| {c.row.figure} | {c.row.setting} | {c.row.truth:.3g} | {c.mean:.3f} "
            f"| {100 * c.share:.1f} % ({100 * low:.1f}–{100 * high:.1f}) | {c.below} / {c.above} | {c.none} |"
        )
    return "\n".join(lines)


def optimism_table(found: Sequence[Optimism]) -> str:
    """Return how right the correction of a chosen cut-off is."""
    lines = ["| cohorts | on the same patients | corrected | on new patients |", "|---|--:|--:|--:|"]
    lines += [f"| {o.setting} | {o.apparent:.3f} | {o.corrected:.3f} | {o.true:.3f} |" for o in found]
    return "\n".join(lines)
