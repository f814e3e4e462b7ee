"""What each answer of a DICOMweb service means for a delivery (PS3.18 10.5.3); docs/reference/delivery.md has the table."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from reporting.delivery_status import FEW_TRIES, Outcome, Rule

# Of the request as a whole. What is in no row: 5xx is tried again, anything else a few times.
HTTP_RULES: Final[Mapping[int, Rule]] = {
    HTTPStatus.OK: Rule(Outcome.STORED, ""),
    HTTPStatus.BAD_REQUEST: Rule(Outcome.PARK, "HTTP_400"),
    HTTPStatus.UNAUTHORIZED: Rule(Outcome.PARK_ALL, "HTTP_401"),
    HTTPStatus.FORBIDDEN: Rule(Outcome.PARK_ALL, "HTTP_403"),
    HTTPStatus.NOT_FOUND: Rule(Outcome.PARK_ALL, "HTTP_404"),
    HTTPStatus.METHOD_NOT_ALLOWED: Rule(Outcome.PARK_ALL, "HTTP_405"),
    HTTPStatus.REQUEST_TIMEOUT: Rule(Outcome.RETRY, "HTTP_408"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Rule(Outcome.PARK, "HTTP_413"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Rule(Outcome.PARK, "HTTP_415"),
    HTTPStatus.TOO_MANY_REQUESTS: Rule(Outcome.RETRY, "HTTP_429"),
}


def http_rule(status: int) -> Rule:
    """Return how to treat the status of a response that names no failure of the object."""
    if status in HTTP_RULES:
        return HTTP_RULES[status]
    return Rule(Outcome.RETRY, f"HTTP_{status}", None if status >= HTTPStatus.INTERNAL_SERVER_ERROR else FEW_TRIES)
