"""A file of clinical facts, JSON or CSV, becomes entries; or one fault that names place and key, and no value.

Pure. What a fault says may go into a log: the names of the site's own keys, which may be a shifted row of patients, never do.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from egfr_dls.errors import EgfrDlsError
from inference.biomarkers.clinical_context import Histology

SELECTORS = ("patient_id", "issuer_of_patient_id", "accession_number")
FACTS = (
    "histology",
    "treatment_began",
    "treatment_started_on",
    "tissue_egfr_mutant",
    "tissue_pdl1_tps_percent",
)
UNKNOWN = "unknown"  # takes a fact back, as null does
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class FaultCode(StrEnum):
    """What is wrong with a file; stable, for logs."""

    TOO_LARGE = "TOO_LARGE"
    FROM_THE_FUTURE = "FROM_THE_FUTURE"
    UNREADABLE = "UNREADABLE"
    NO_TEXT = "NO_TEXT"
    NO_JSON = "NO_JSON"
    NO_CSV = "NO_CSV"
    CUT_OFF = "CUT_OFF"
    ENTRY = "ENTRY"
    TWICE = "TWICE"


class FaultyFileError(EgfrDlsError):
    """A file of clinical facts does not count: ``place`` is the entry of a JSON file or the line of a CSV file, from 1."""

    def __init__(self, code: FaultCode, message: str, place: int | None = None) -> None:
        super().__init__(message if place is None else f"entry or line {place}: {message}")
        self.code = code
        self.place = place


class Entry(BaseModel):
    """What a file states of one subject. A fact that is left out is not stated; None takes an earlier one back."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    patient_id: str = Field("", max_length=64)  # (0010,0020)
    issuer_of_patient_id: str = Field("", max_length=64)  # (0010,0021)
    accession_number: str = Field("", max_length=64)  # (0008,0050)
    histology: Histology | None = None
    treatment_began: bool | None = None  # before this examination
    treatment_started_on: date | None = None
    tissue_egfr_mutant: bool | None = None
    tissue_pdl1_tps_percent: float | None = Field(None, ge=0, le=100)

    @field_validator(*SELECTORS, mode="after")
    @classmethod
    def _stripped(cls, value: str) -> str:
        return value.strip()

    @field_validator(*FACTS, mode="before")
    @classmethod
    def _unknown_is_none(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.strip().lower() == UNKNOWN else value

    @field_validator("treatment_started_on", mode="before")
    @classmethod
    def _written_date(cls, value: Any) -> Any:
        if value is None or (isinstance(value, str) and _DATE.fullmatch(value)):
            return value
        raise ValueError("must be a date as 2026-01-31")

    @field_validator("tissue_pdl1_tps_percent", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a number from 0 to 100")  # noqa: TRY004  # pydantic tells a ValueError to the caller
        return value

    @model_validator(mode="after")
    def _says_something_of_somebody(self) -> Self:
        if not (self.patient_id or self.accession_number):
            raise ValueError("names nobody; needed: patient_id, accession_number or both")
        if self.issuer_of_patient_id and not self.patient_id:
            raise ValueError("issuer_of_patient_id stands without patient_id")
        if self.treatment_began is not None and not self.accession_number:
            raise ValueError(
                "treatment_began is of one examination; needed: its accession_number, or treatment_started_on instead"
            )
        if not self.stated:
            raise ValueError(f"states nothing; needed: one of {', '.join(FACTS)}")
        return self

    @property
    def subject(self) -> tuple[str, str, str]:
        """Who is meant: PatientID, its issuer, AccessionNumber; all that is not empty must agree."""
        return self.patient_id, self.issuer_of_patient_id, self.accession_number

    @property
    def stated(self) -> dict[str, str]:
        """The facts that are stated, as JSON by name."""
        values = self.model_dump(mode="json", include=self.model_fields_set.intersection(FACTS))
        return {name: json.dumps(None if value == Histology.UNKNOWN else value) for name, value in values.items()}


def read_entries(data: bytes, *, comma_separated: bool) -> tuple[Entry, ...]:
    """Return the entries of a whole file, JSON or CSV, in UTF-8.

    Raises
    ------
    FaultyFileError
        it cannot be read, one entry is wrong, or two are of the same subject: then nothing of it counts
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FaultyFileError(FaultCode.NO_TEXT, "is not UTF-8 text") from error
    entries = []
    places: dict[tuple[str, str, str], int] = {}
    for place, given in _rows(text) if comma_separated else _objects(text):
        entry = _entry(given, place)
        first = places.setdefault(entry.subject, place)
        if first != place:
            raise FaultyFileError(FaultCode.TWICE, f"is of the same subject as entry or line {first}", place)
        entries.append(entry)
    return tuple(entries)


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    try:
        document = json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FaultyFileError(FaultCode.NO_JSON, "is not JSON, or gives one key twice") from error
    yield from enumerate(document if isinstance(document, list) else [document], start=1)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _no_number(_text: str) -> Any:
    raise ValueError("NaN or infinity")


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with its line number; an empty cell states nothing. A last line without its end was cut off."""
    if not text.endswith(("\n", "\r")):
        raise FaultyFileError(FaultCode.CUT_OFF, "does not end with a line break: it may have been cut off")
    head, _, _ = text.partition("\n")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",", strict=True)
    try:
        names = _columns([name.strip() for name in next(rows)])
        for row in rows:
            if not any(row):
                continue
            if len(row) != len(names):
                raise FaultyFileError(
                    FaultCode.NO_CSV,
                    f"has {len(row)} cells; needed: {len(names)}, as the first line has",
                    rows.line_num,
                )
            yield rows.line_num, {name: cell for name, cell in zip(names, row, strict=True) if cell.strip()}
    except csv.Error as error:
        raise FaultyFileError(FaultCode.NO_CSV, "is not CSV", rows.line_num) from error


def _columns(names: Sequence[str]) -> Sequence[str]:
    known = (*SELECTORS, *FACTS)
    for column, name in enumerate(names, start=1):
        if name not in known:
            raise FaultyFileError(
                FaultCode.NO_CSV, f"column {column} has an unknown name; known: {', '.join(known)}", 1
            )
    if len(set(names)) != len(names):
        raise FaultyFileError(FaultCode.NO_CSV, "a column is there twice", 1)
    return names


def _entry(given: Any, place: int) -> Entry:
    try:
        return Entry.model_validate(given)
    except ValidationError as error:
        raise FaultyFileError(FaultCode.ENTRY, "; ".join(_sentence(f) for f in error.errors()), place) from error


def _sentence(fault: Any) -> str:
    """Say a fault of pydantic's without a value, and without a key that is not ours."""
    if fault["type"] == "extra_forbidden":
        return f"has an unknown key; known: {', '.join((*SELECTORS, *FACTS))}"
    key = ".".join(str(part) for part in fault["loc"])
    said = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else str(fault["msg"])
    return f"{key}: {said}" if key else said
