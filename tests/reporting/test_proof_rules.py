"""The tables of proofs: which way is tried when, what a failure reason leads to."""

from __future__ import annotations

import pytest

from egfr_dls.ledger.proofs import DueProof
from reporting.proof_rules import (
    FAILURES,
    REPORT_SECONDS,
    Offer,
    Verdict,
    Way,
    query_seconds,
    report_seconds,
    verdict,
    way,
)


def one(tries: int) -> DueProof:
    return DueProof("1.2", "1.3", "1.4", "1.5", "key", "report", tries, 0)


@pytest.mark.parametrize(
    ("wanted", "commits", "finds", "tries", "expected"),
    [
        (None, True, True, 0, Way.QUERY),
        (None, True, False, 0, Way.ASK),
        (None, True, False, 1, Way.NONE),
        (True, True, True, 2, Way.ASK),
        (True, True, True, 3, Way.QUERY),
        (True, True, False, 3, Way.NONE),
        (True, False, True, 0, Way.QUERY),
        (False, True, True, 0, Way.QUERY),
        (None, False, False, 0, Way.NONE),
    ],
)
def test_way(wanted: bool | None, commits: bool, finds: bool, tries: int, expected: Way) -> None:
    assert way(one(tries), Offer(wanted, commits, finds)) is expected


@pytest.mark.parametrize(("reason", "expected"), FAILURES.items())
def test_failure_reason_of_the_table(reason: int, expected: tuple[Verdict, str]) -> None:
    assert verdict(reason) == expected


def test_unknown_failure_reason_is_asked_about_again() -> None:
    assert verdict(0x4711) == (Verdict.LATER, "COMMITMENT_FAILED")


def test_waits_grow_and_stay_at_the_longest() -> None:
    assert [report_seconds(one(n)) for n in range(4)] == [*REPORT_SECONDS, REPORT_SECONDS[-1]]
    assert [query_seconds(n) for n in range(4)] == [5.0, 60.0, 600.0, 600.0]
