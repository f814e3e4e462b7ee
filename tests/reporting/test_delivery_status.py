"""What the operator reads in ``docs/reference/delivery.md`` is what the sender does, for every status there can be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from egfr_dls.dimse_status import StoreStatus
from reporting.delivery_status import (
    BACK_OFF_CAP_SECONDS,
    EXACT,
    FEW_TRIES,
    NO_REASON_GIVEN,
    PERMANENT_REJECTIONS,
    Outcome,
    Rule,
    back_off_seconds,
    rule_for,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "delivery.md"
THEN = {
    "stored": Outcome.STORED,
    "again": Outcome.RETRY,
    "parked": Outcome.PARK,
    "another class": Outcome.OTHER_CLASS,
}


def cells(pattern: str) -> list[list[str]]:
    """Return the cells of the table rows that begin so, without back-ticks."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(pattern, line)]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


ROWS = cells(r"\| `[0-9A-Fx]{4}H` ")
RULES = {
    status: Rule(THEN[then], reason, int(tries) if tries and then == "again" else None)
    for status, _, _, then, reason, tries in ROWS
}


def documented(status: int) -> Rule:
    """Return what the page's first row that fits says."""
    text = f"{status:04X}H"
    return next(rule for row, rule in RULES.items() if re.fullmatch(row.replace("x", "."), text))


# one status of each row -> what the page says of it; test_send puts each to a sender
TABLE: list[tuple[int, Outcome, str, int | None]] = [
    (code, documented(code).outcome, documented(code).reason, documented(code).tries)
    for code in [int(row[0].strip("H").replace("xxxx", "0001").replace("x", "F"), 16) for row in ROWS]
]


def test_every_status_is_treated_as_the_page_says() -> None:
    assert [f"{s:04X}H" for s in range(0x10000) if rule_for(s) != documented(s)] == []


def test_each_row_of_the_page_is_one_row_of_the_code() -> None:
    """No row is hidden by the one before it, and every status with a rule of its own has its line."""
    assert [documented(code) for code, *_ in TABLE] == list(RULES.values())
    assert {f"{int(status):04X}H" for status in EXACT} == {row for row in RULES if "x" not in row}


def test_names_and_clauses_are_those_of_the_standard() -> None:
    named = {int(s): (s.meaning, s.clause) for s in StoreStatus}
    for status, meaning, clause, *_ in ROWS:
        if "any other" not in meaning:
            assert named[int(status.strip("H").replace("x", "0"), 16)] == (meaning, clause)


def test_what_parks_at_once_says_so() -> None:
    assert {row[5] for row in ROWS if row[3] == "parked"} == {"1"}


def test_only_unrepeatable_rejections_park_a_destination() -> None:
    shown = {
        (int(a), int(b), int(c)): (name, then)
        for name, codes, then in cells(r"\| `[A-Z_]+` \| \d, \d, \d ")
        for a, b, c in [codes.split(", ")]
    }
    assert shown.pop(NO_REASON_GIVEN) == ("REJECTED_WITHOUT_REASON", "parked at the third in a row")
    assert FEW_TRIES == 3
    assert shown == {key: (name, "the destination is parked") for key, name in PERMANENT_REJECTIONS.items()}


def test_back_off_doubles_to_an_hour() -> None:
    waits = [back_off_seconds(n, 30, 0.0) for n in range(1, 12)]
    assert waits[:7] == [30, 60, 120, 240, 480, 960, 1920]
    assert set(waits[7:]) == {BACK_OFF_CAP_SECONDS}
    assert back_off_seconds(1, 30, -0.1) == pytest.approx(27)
    assert back_off_seconds(10**9, 30, 0.1) == pytest.approx(3960)  # no overflow
