"""A study on the terminal: header values are shown as they are."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from egfr_dls.study_document import render

DOCUMENT: dict[str, Any] = {
    "study_key": "0123456789abcdef",
    "study_instance_uid": "1.2.3",
    "state": "REFUSED",
    "held": False,
    "conflict": True,
    "released_at": None,
    "withdrawal": {
        "at": "2025-01-02T12:00:00+00:00",
        "by": "Rita [x]",
        "title": "quality",
        "reason": "[red]wrong",
    },
    "instances": 3,
    "findings": {
        "refusal": {
            "code": "SUV_UNITS_UNSUPPORTED",
            "message": "Units (0054,1001) is '[/RED]'; see [study] force_seconds",
        },
        "series": [{"modality": "PT", "series_instance_uid": "1.2.4", "role": None, "reason": None}],
        "warnings": [{"code": "ROI_PROPOSED", "message": "[bold]one"}],
    },
    "notice": {"code": "ROI_TOO_LATE", "message": "SEG [1.2.5] came"},
    "sources": [{"source": "archive", "state": "failed", "attempts": 5, "reason": "NOT_THERE"}],
    "jobs": [],
    "deliveries": [],
    "destinations": [],
}


def test_brackets_of_a_header_are_no_markup() -> None:
    console = Console(file=io.StringIO(), width=200)
    render(DOCUMENT, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO
    assert "'[/RED]'; see [study] force_seconds" in shown
    assert "[bold]one" in shown
    assert "CONFLICT" in shown
    assert "NOT_THERE" in shown
    assert "since then: ROI_TOO_LATE: SEG [1.2.5] came" in shown
    assert "WITHDRAWN on 2025-01-02T12:00:00 by Rita [x] (quality): [red]wrong" in shown
