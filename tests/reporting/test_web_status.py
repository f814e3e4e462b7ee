"""What each answer of a DICOMweb service means for a delivery, row by row and for what is in no row (PS3.18 10.5.3)."""

from __future__ import annotations

import pytest

from reporting.delivery_status import FEW_TRIES, Outcome
from reporting.web_status import HTTP_RULES, http_rule

# status: outcome, reason, tries before it parks (None: never)
EXPECTED = {
    200: (Outcome.STORED, "", None),
    400: (Outcome.PARK, "HTTP_400", None),
    401: (Outcome.PARK_ALL, "HTTP_401", None),
    403: (Outcome.PARK_ALL, "HTTP_403", None),
    404: (Outcome.PARK_ALL, "HTTP_404", None),
    405: (Outcome.PARK_ALL, "HTTP_405", None),
    408: (Outcome.RETRY, "HTTP_408", None),
    413: (Outcome.PARK, "HTTP_413", None),
    415: (Outcome.PARK, "HTTP_415", None),
    429: (Outcome.RETRY, "HTTP_429", None),
}
EVERY = range(100, 1000)  # RFC 9110 15: three digits; 600 and above stand for no class


@pytest.mark.parametrize("status", EXPECTED)
def test_each_row(status: int) -> None:
    rule = http_rule(status)
    assert (rule.outcome, rule.reason, rule.tries) == EXPECTED[status]


def test_table_has_no_other_row() -> None:
    assert set(HTTP_RULES) == set(EXPECTED)


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 507, 599])
def test_fault_of_the_service_is_tried_again_for_a_day(status: int) -> None:
    rule = http_rule(status)
    assert (rule.outcome, rule.reason, rule.tries) == (Outcome.RETRY, f"HTTP_{status}", None)


@pytest.mark.parametrize("status", [100, 201, 202, 204, 206, 301, 302, 307, 308, 402, 406, 409, 410, 411, 422, 451])
def test_anything_else_is_tried_a_few_times(status: int) -> None:
    rule = http_rule(status)
    assert (rule.outcome, rule.reason, rule.tries) == (Outcome.RETRY, f"HTTP_{status}", FEW_TRIES)


def test_only_success_as_a_whole_is_stored() -> None:
    assert [status for status in EVERY if http_rule(status).outcome is Outcome.STORED] == [200]


def test_reason_names_the_status() -> None:
    assert {http_rule(status).reason for status in EVERY if status != 200} == {f"HTTP_{s}" for s in EVERY if s != 200}
