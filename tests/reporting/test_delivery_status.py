"""Every answer of a PACS has one row, and the classes of PS3.4 B.2.3 catch the rest."""

from __future__ import annotations

import pytest

from reporting.delivery_status import (
    BACK_OFF_CAP_SECONDS,
    PERMANENT_REJECTIONS,
    Outcome,
    Rule,
    Status,
    back_off_seconds,
    rule_for,
)

# status -> outcome, reason and tries, as the operator's documentation lists them
TABLE: list[tuple[int, Outcome, str, int | None]] = [
    (0x0000, Outcome.STORED, "", None),
    (0xB000, Outcome.STORED, "COERCED", None),
    (0xB006, Outcome.STORED, "ELEMENTS_DISCARDED", None),
    (0xB007, Outcome.STORED, "DOES_NOT_MATCH_SOP_CLASS", None),
    (0xB123, Outcome.STORED, "WARNING", None),
    (0x0111, Outcome.STORED, "DUPLICATE", None),
    (0xA700, Outcome.RETRY, "OUT_OF_RESOURCES", None),
    (0xA7FF, Outcome.RETRY, "OUT_OF_RESOURCES", None),
    (0xA801, Outcome.RETRY, "REFUSED", None),
    (0x0213, Outcome.RETRY, "RESOURCE_LIMITATION", None),
    (0x0110, Outcome.RETRY, "PROCESSING_FAILURE", 5),
    (0xA900, Outcome.PARK, "DATA_SET_DOES_NOT_MATCH_SOP_CLASS", None),
    (0xA9FF, Outcome.PARK, "DATA_SET_DOES_NOT_MATCH_SOP_CLASS", None),
    (0x0122, Outcome.PARK, "SOP_CLASS_NOT_SUPPORTED", None),
    (0xC000, Outcome.RETRY, "CANNOT_UNDERSTAND", 3),
    (0xCFFF, Outcome.RETRY, "CANNOT_UNDERSTAND", 3),
    (0x0117, Outcome.RETRY, "INVALID_OBJECT_INSTANCE", 3),
    (0x0124, Outcome.PARK, "NOT_AUTHORISED", None),
    (0x0210, Outcome.PARK, "PROTOCOL_FAULT_OF_OURS", None),
    (0x0211, Outcome.PARK, "PROTOCOL_FAULT_OF_OURS", None),
    (0x0212, Outcome.PARK, "PROTOCOL_FAULT_OF_OURS", None),
    (0x0001, Outcome.RETRY, "UNKNOWN_STATUS", 3),
    (0xFE00, Outcome.RETRY, "UNKNOWN_STATUS", 3),
]


@pytest.mark.parametrize(("status", "outcome", "reason", "tries"), TABLE)
def test_status_has_its_rule(status: int, outcome: Outcome, reason: str, tries: int | None) -> None:
    assert rule_for(status) == Rule(outcome, reason, tries)


def test_every_named_status_is_in_this_table() -> None:
    assert {int(s) for s in Status} <= {row[0] for row in TABLE}


def test_only_unrepeatable_rejections_park_a_destination() -> None:
    assert set(PERMANENT_REJECTIONS) == {(1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 2)}


def test_back_off_doubles_to_an_hour() -> None:
    waits = [back_off_seconds(n, 30, 0.0) for n in range(1, 12)]
    assert waits[:7] == [30, 60, 120, 240, 480, 960, 1920]
    assert set(waits[7:]) == {BACK_OFF_CAP_SECONDS}
    assert back_off_seconds(1, 30, -0.1) == pytest.approx(27)
    assert back_off_seconds(10**9, 30, 0.1) == pytest.approx(3960)  # no overflow
