"""How what is stored is proven: which way is tried when, and what each answer leads to. Pure.

Where the site wants storage commitment it comes first, then a query for a report that never came; else a query, and storage
commitment where there is none; then a person. The operator's words are in ``docs/reference/delivery.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from egfr_dls.ledger.proofs import DueProof

WANTED_ASKS: Final = 3  # how often a report that the site wants is asked for before a query stands in
REPORT_SECONDS: Final = (60.0, 600.0, 3600.0)  # how long the report of the first, second, ... request is waited for
QUERIES: Final = 3  # that do not find an object, until it counts as absent: some nodes index behind their answer
QUERY_SECONDS: Final = (5.0, 60.0, 600.0)  # between them
SILENT_QUERIES: Final = 6  # queries, found or not, until one that has no answer ends it
ABSENCES: Final = 2  # how often an object that is not there is sent again


class Way(Enum):
    """How to prove it now."""

    ASK = "ask"
    QUERY = "query"
    NONE = "none"  # there is no way: a person must look


class Verdict(Enum):
    """What a Failure Reason (0008,1197) of a report means (PS3.3 C.14.1.1)."""

    ABSENT = "absent"  # the same bytes go again
    PARK = "park"
    LATER = "later"  # asked again when its time has come


FAILURES: Final[Mapping[int, tuple[Verdict, str]]] = {
    0x0110: (Verdict.LATER, "PROCESSING_FAILURE"),  # PS3.7 C.5.21
    0x0112: (Verdict.ABSENT, "NOT_THERE"),  # no such object instance, C.5.19
    0x0119: (Verdict.PARK, "CLASS_INSTANCE_CONFLICT"),  # C.5.7
    0x0122: (Verdict.PARK, "COMMITMENT_NOT_SUPPORTED"),  # referenced SOP class not supported, C.5.6
    0x0131: (Verdict.LATER, "DUPLICATE_TRANSACTION_UID"),  # PS3.4 J.3.3.1.2: the next request has another
    0x0213: (Verdict.LATER, "RESOURCE_LIMITATION"),  # C.5.22
}
# Statuses of an N-ACTION-RSP (PS3.7 10.1.4.1.10) after which a report can come: success, and its warnings; and those that
# may pass. After any other one asking again is of no use.
ACCEPTED: Final = frozenset({0x0000, 0x0001, 0x0107, 0x0116})
MAY_PASS: Final = frozenset({0x0110, 0x0131, 0x0213})


@dataclass(frozen=True, slots=True)
class Offer:
    """What the destination accepted on the association, and what the site wants of it (``storage_commitment``)."""

    wanted: bool | None
    commits: bool
    finds: bool


def verdict(failure_reason: int) -> tuple[Verdict, str]:
    """Return what a reported failure means, and its name; an unknown one is asked about again."""
    return FAILURES.get(failure_reason, (Verdict.LATER, "COMMITMENT_FAILED"))


def way(one: DueProof, offer: Offer) -> Way:
    """Return how to prove an object now."""
    if one.tries < _asks(offer):
        return Way.ASK
    return Way.QUERY if offer.finds else Way.NONE


def _asks(offer: Offer) -> int:
    """Return how often to ask for commitment: a query is answered at once, a report may never come."""
    if not offer.commits or offer.wanted is False:
        return 0
    return WANTED_ASKS if offer.wanted else int(not offer.finds)


def report_seconds(one: DueProof) -> float:
    """Return how long to wait for the report of the request that is about to leave."""
    return REPORT_SECONDS[min(one.tries, len(REPORT_SECONDS) - 1)]


def queries(one: DueProof, offer: Offer) -> int:
    """Return how many queries for an object were made before."""
    return max(0, one.tries - _asks(offer))


def query_seconds(made: int) -> float:
    """Return how long to wait after a query, ``made`` before it, that did not find the object."""
    return QUERY_SECONDS[min(made, len(QUERY_SECONDS) - 1)]
