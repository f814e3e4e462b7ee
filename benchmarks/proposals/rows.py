"""The rows of the table: which difficulties, and which patients. No row shares a patient with another."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.proposals.difficulties import Difficulty

# The rules were made on the first, the table is made on the second; no figure of the second was looked at before the rules
# were fixed. Training uses seeds from 10,000 and 20,000, the demonstration networks' table seeds from 30,000.
DEVELOPMENT_SEEDS = range(40_000, 41_100)
EVALUATION_SEEDS = range(50_000, 51_100)
SEEDS_A_ROW = 100  # the most scans that a row can have

EVERYTHING_BUT_SMALL = frozenset(Difficulty) - {Difficulty.SMALL}


@dataclass(frozen=True)
class Row:
    """Scans of one kind. ``difficulties`` None: the reference phantom."""

    name: str
    difficulties: frozenset[Difficulty] | None

    @property
    def small(self) -> bool:
        """Whether its lesions are listed apart."""
        return self.difficulties is not None and Difficulty.SMALL in self.difficulties

    @property
    def harder(self) -> bool:
        """Whether it counts towards the goals."""
        return self.difficulties is not None and not self.small


ROWS = (
    *(Row(difficulty.value, frozenset({difficulty})) for difficulty in Difficulty),
    Row("all of these together, lesions from 12 mm", EVERYTHING_BUT_SMALL),
    Row("the reference phantom", None),
)


def row_seeds(row: Row, seeds: range, scans: int) -> range:
    """Return the seeds of a row: a part of ``seeds`` that no other row has."""
    if not 0 < scans <= SEEDS_A_ROW:
        raise ValueError(f"a row has 1 to {SEEDS_A_ROW} scans, not {scans}")
    first = seeds[SEEDS_A_ROW * ROWS.index(row)]
    return range(first, first + scans)
