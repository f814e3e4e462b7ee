"""What a sender is told, and that the reference says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from listener.status import FAULTS, Abort, Fault, Rejection

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "receiving.md"


def told(columns: int) -> dict[str, tuple[int, ...]]:
    """Return log reason -> codes of every table row of the page that has so many codes."""
    row = re.compile(rf"^\| .* \| ((?:\d, ){{{columns - 1}}}\d) \| `(\w+)` \|$", re.M)
    return {
        reason: tuple(map(int, codes.split(", "))) for codes, reason in row.findall(PAGE.read_text(encoding="utf-8"))
    }


def test_the_page_lists_every_rejection_with_its_codes() -> None:
    assert told(3) == {reason.reason: reason.codes for reason in Rejection}


def test_the_page_lists_every_abort_with_its_codes() -> None:
    assert told(2) == {reason.reason: reason.codes for reason in Abort}


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_an_answer_whose_comment_fits(fault: Fault) -> None:
    """Error Comment (0000,0902) is LO: 64 characters."""
    assert 0 < len(FAULTS[fault].comment) <= 64
    assert FAULTS[fault].comment.isascii()
    assert f"`{fault}`" in PAGE.read_text(encoding="utf-8")
