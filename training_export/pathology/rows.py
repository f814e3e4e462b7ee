"""A CSV file of a site as rows; what a fault says names file, line and column, and no value: it may be a patient's."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from egfr_dls.errors import UsageError
from training_export.pathology.results import MAX_FILE_BYTES

Row = TypeVar("Row", bound=BaseModel)


def read_text(option: str, path: Path) -> str:
    """Return a file's text, UTF-8 with or without byte order mark.

    Raises
    ------
    UsageError
        it cannot be read, is too large, or is no text
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(
                f"{option} {path.name} has more than {MAX_FILE_BYTES // 2**20} MiB; needed: a smaller file"
            )
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{option} {path.name}: {error.strerror}; needed: a file that can be read") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {path.name} is not UTF-8 text; needed: a file in UTF-8") from error


def read_rows(option: str, path: Path, kind: type[Row]) -> Iterator[tuple[str, Row]]:
    """Yield every row with its place; an empty cell states nothing, and the columns are the fields of ``kind``.

    Raises
    ------
    UsageError
        no CSV, an unknown, missing or repeated column, or a value that the column does not take
    """
    text = read_text(option, path)
    head = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",", strict=True)
    where = f"{option} {path.name}"
    try:
        names = [name.strip() for name in next(rows, [])]
        _check_columns(where, names, kind)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            place = f"{path.name}, line {rows.line_num}"
            if len(row) != len(names):
                raise UsageError(f"{option} {place}: {len(row)} cells; needed: {len(names)}, as the first line has")
            given = {name: cell.strip() for name, cell in zip(names, row, strict=True) if cell.strip()}
            yield place, _validated(f"{option} {place}", given, kind)
    except csv.Error as error:
        raise UsageError(
            f"{where}, line {rows.line_num}: is not CSV; needed: cells between commas or semicolons"
        ) from error


def _check_columns(where: str, names: Collection[str], kind: type[BaseModel]) -> None:
    known = list(kind.model_fields)
    for number, name in enumerate(names, 1):
        if name not in known:
            raise UsageError(f"{where}: column {number} has an unknown name; known: {', '.join(known)}")
    if len(set(names)) != len(names):
        raise UsageError(f"{where}: a column is there twice; needed: each once")
    missing = [name for name, field in kind.model_fields.items() if field.is_required() and name not in names]
    if missing:
        raise UsageError(f"{where}: column {missing[0]} is missing; known: {', '.join(known)}")


def _validated(where: str, given: dict[str, str], kind: type[Row]) -> Row:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise UsageError(f"{where}: " + "; ".join(_sentence(fault) for fault in error.errors())) from error


def _sentence(fault: object) -> str:
    """Say a fault of pydantic's without the value."""
    facts = fault if isinstance(fault, dict) else {}
    said = str(facts["ctx"]["error"]) if facts["type"] == "value_error" else str(facts["msg"])
    return f"{'.'.join(str(part) for part in facts['loc'])}: {said}"
