"""The steps of a delivery are read from the log without a gap, and their shares are of the whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks.delivery_time import PAGES, STEPS, WHOLE, steps, table

AT: list[tuple[str, float, dict[str, Any]]] = [
    ("study_analysed", 10.0, {}),
    ("report_built", 10.5, {"seconds": 0.4}),
    ("delivery_stored", 10.6, {"kind": "roi"}),
    ("delivery_stored", 10.8, {"kind": "report"}),
    ("delivery_stored", 11.5, {"kind": "pages"}),
    ("delivery_verified", 10.7, {"kind": "roi"}),
    ("delivery_committed", 11.0, {"kind": "report"}),
    ("delivery_committed", 12.0, {"kind": "pages"}),
]


class Log:
    """A service of which only the log is read."""

    def events(self, event: str, **fields: object) -> list[dict[str, Any]]:
        lines = [
            {"event": name, "timestamp": datetime.fromtimestamp(at, UTC).isoformat(), "study_key": "k", **more}
            for name, at, more in AT
        ]
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]


def test_steps_follow_one_another_without_a_gap() -> None:
    found = steps(Log(), "k")  # type: ignore[arg-type]  # its log only
    assert [found[step] for step in STEPS] == pytest.approx([0.1, 0.4, 0.1, 0.2, 0.2])
    assert sum(found[step] for step in STEPS) == pytest.approx(found[WHOLE])
    assert (found[WHOLE], found[PAGES]) == pytest.approx((1.0, 2.0))


def test_table_shows_seconds_and_shares() -> None:
    lines = table({"plain": [steps(Log(), "k")]}).splitlines()  # type: ignore[arg-type]  # as above
    assert lines[0] == "| seconds, median of 1 | plain |"
    assert lines[3] == f"| {STEPS[1]} | 0.40 (40%) |"
    assert lines[-2:] == [f"| {WHOLE} | 1.00 |", f"| {PAGES} | 2.00 |"]
