"""Reads one CSV file: whatever is wrong in it is said by row and column, and no cell is ever printed.

A cell may be a patient's identifier, also where the columns are shifted by a slip of the spreadsheet.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from egfr_dls.errors import UsageError
from training_export.evaluation.estimates import Floats, Mask

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
Texts = NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file with a header: its cells as stripped text, and the row of each as a spreadsheet counts (header: 1)."""

    name: str
    sha256: str
    columns: dict[str, Texts]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def text(self, column: str) -> Texts:
        """Return a column; blank texts where the table lacks it."""
        return self.columns.get(column, np.full(len(self), "", object))

    def numbers(
        self,
        column: str,
        needed: str,
        *,
        low: float = -np.inf,
        high: float = np.inf,
        among: Sequence[float] = (),
        blank: bool = True,
    ) -> Floats:
        """Return a column as finite numbers; a blank cell, where allowed, is NaN: unknown.

        Raises
        ------
        UsageError
            a cell is no number, or out of ``low..high``, or none of ``among``; ``needed`` says what it must be
        """
        cells = self.text(column)
        known = cells != ""
        if not blank:
            self.require(known, column, "blank", needed)
        plain = np.fromiter((NUMBER.fullmatch(c) is not None for c in cells), bool, len(cells))
        self.require(plain | ~known, column, "not a finite number", needed)
        values = np.full(len(cells), np.nan)
        values[known] = cells[known].astype(np.float64)
        self.require(np.isfinite(values) | ~known, column, "not a finite number", needed)
        allowed = np.isin(values, among) if among else (values >= low) & (values <= high)
        self.require(allowed | ~known, column, "out of range", needed)
        return values

    def require(self, good: Mask, column: str, problem: str, needed: str) -> None:
        """Raise UsageError for the first row that is not ``good``."""
        bad = np.flatnonzero(~good)
        if len(bad):
            more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
            raise UsageError(
                f"{self.name}: row {self.rows[bad[0]]}, column {column}: {problem}{more}; needed: {needed}"
            )

    def require_distinct(self, keys: Sequence[Texts], what: str) -> None:
        """Raise UsageError where two rows have the same keys; both rows are named."""
        first: dict[tuple[str, ...], int] = {}
        for row, key in zip(self.rows, zip(*keys, strict=True), strict=True):
            earlier = first.setdefault(key, int(row))
            if earlier != row:
                raise UsageError(f"{self.name}: row {row}: {what} of row {earlier} again; needed: one row for each")


def read_table(option: str, path: Path, required: Sequence[str]) -> Table:
    """Read a UTF-8 file of comma-separated cells under a header; columns are known by their lower-case names.

    Raises
    ------
    UsageError
        it is no such file, has no rows, or lacks one of the ``required`` columns
    """
    name = f"{option} {path.name}"
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: no UTF-8 text ({type(error).__name__}); needed: a CSV file") from error
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UsageError(f"{name}: no CSV file ({error}); needed: cells with commas between them") from error
    numbered = [(row, record) for row, record in enumerate(records, 1) if any(cell.strip() for cell in record)]
    if len(numbered) < 2:
        raise UsageError(f"{name}: no rows under a header; needed: a header and at least one row")
    header = _header(name, numbered[0][1], required)
    for row, record in numbered[1:]:
        if len(record) != len(header):
            raise UsageError(
                f"{name}: row {row}: {len(record)} cells, the header has {len(header)}; needed: as many; "
                "a cell with a comma stands in quotes"
            )
    cells = np.array([[cell.strip() for cell in record] for _, record in numbered[1:]], object)
    rows = np.array([row for row, _ in numbered[1:]], np.int64)
    digest = hashlib.sha256(data).hexdigest()
    return Table(name, digest, {column: cells[:, i] for i, column in enumerate(header)}, rows)


def _header(name: str, record: Sequence[str], required: Sequence[str]) -> list[str]:
    header = [cell.strip().lower() for cell in record]
    missing = [column for column in required if column not in header]
    if missing:
        separator = next((f"; cells seem to have {s!r} between them" for s in ";\t" if s in "".join(record)), "")
        raise UsageError(f"{name}: no column {', '.join(missing)}{separator}; needed: {','.join(required)},…")
    twice = sorted({column for column in header if header.count(column) > 1 and column})
    if twice:
        raise UsageError(f"{name}: more than one column {', '.join(twice)}; needed: one of each name")
    return header
