"""What each answer of a PACS means for a delivery; ``docs/reference/delivery.md`` prints the same table for the operator.

References: PS3.4 B.2.3 (classes of C-STORE statuses), PS3.8 9.3.4 (A-ASSOCIATE-RJ reasons); the clause of each single
status stands in ``egfr_dls.dimse_status``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from egfr_dls.dimse_status import StoreStatus

FEW_TRIES = 3
PROCESSING_FAILURE_TRIES = 5
BACK_OFF_CAP_SECONDS = 3600.0
GIVE_UP_SECONDS = 24 * 3600.0


class Outcome(Enum):
    """What happens to the object next."""

    STORED = "stored"
    RETRY = "retry"  # back-off, for a day
    PARK = "park"  # a person must look
    OTHER_CLASS = "other_class"  # built as a class that was not tried, where there is one; else as PARK
    PARK_ALL = "park_all"  # a person must look at the destination: no object of it can fare better


@dataclass(frozen=True, slots=True)
class Rule:
    """How to treat an answer: after ``tries`` attempts that ended so, the object parks; None: never."""

    outcome: Outcome
    reason: str
    tries: int | None = None


EXACT: dict[int, Rule] = {
    StoreStatus.SUCCESS: Rule(Outcome.STORED, ""),
    StoreStatus.DUPLICATE_SOP_INSTANCE: Rule(Outcome.STORED, "DUPLICATE"),
    StoreStatus.COERCION_OF_DATA_ELEMENTS: Rule(Outcome.STORED, "COERCED"),
    StoreStatus.ELEMENTS_DISCARDED: Rule(Outcome.STORED, "ELEMENTS_DISCARDED"),
    StoreStatus.MATCHES_SOP_CLASS_IN_PART: Rule(Outcome.STORED, "DOES_NOT_MATCH_SOP_CLASS"),
    StoreStatus.RESOURCE_LIMITATION: Rule(Outcome.RETRY, "RESOURCE_LIMITATION"),
    StoreStatus.PROCESSING_FAILURE: Rule(Outcome.RETRY, "PROCESSING_FAILURE", PROCESSING_FAILURE_TRIES),
    StoreStatus.INVALID_SOP_INSTANCE: Rule(Outcome.RETRY, "INVALID_OBJECT_INSTANCE", FEW_TRIES),
    StoreStatus.SOP_CLASS_NOT_SUPPORTED: Rule(Outcome.OTHER_CLASS, "SOP_CLASS_NOT_SUPPORTED"),
    StoreStatus.NOT_AUTHORISED: Rule(Outcome.PARK, "NOT_AUTHORISED"),
    StoreStatus.DUPLICATE_INVOCATION: Rule(Outcome.PARK, "PROTOCOL_FAULT_OF_OURS"),
    StoreStatus.UNRECOGNISED_OPERATION: Rule(Outcome.PARK, "PROTOCOL_FAULT_OF_OURS"),
    StoreStatus.MISTYPED_ARGUMENT: Rule(Outcome.PARK, "PROTOCOL_FAULT_OF_OURS"),
}
# (mask, value) of the status classes of PS3.4 B.2.3, most specific first.
_CLASSES: tuple[tuple[int, int, Rule], ...] = (
    (0xFF00, 0xA700, Rule(Outcome.RETRY, "OUT_OF_RESOURCES")),
    (0xFF00, 0xA900, Rule(Outcome.OTHER_CLASS, "DATA_SET_DOES_NOT_MATCH_SOP_CLASS")),
    (0xF000, 0xA000, Rule(Outcome.RETRY, "REFUSED")),
    (0xF000, 0xB000, Rule(Outcome.STORED, "WARNING")),
    (0xF000, 0xC000, Rule(Outcome.RETRY, "CANNOT_UNDERSTAND", FEW_TRIES)),
)
_OTHER = Rule(Outcome.RETRY, "UNKNOWN_STATUS", FEW_TRIES)


NO_ANSWER = Rule(Outcome.RETRY, "NO_ANSWER")
BYTES_UNREADABLE = Rule(Outcome.RETRY, "BYTES_UNREADABLE")


def rule_for(status: int) -> Rule:
    """Return how to treat a C-STORE status (0000,0900)."""
    if status in EXACT:
        return EXACT[status]
    return next((rule for mask, value, rule in _CLASSES if status & mask == value), _OTHER)


# (result, source, reason) of an A-ASSOCIATE-RJ (PS3.8 table 9-21) after which nothing that we repeat can succeed:
# the whole destination is parked. Every other rejection is tried again, a permanent one without a reason a few times.
PERMANENT_REJECTIONS: dict[tuple[int | None, int | None, int | None], str] = {
    (1, 1, 2): "APPLICATION_CONTEXT_NOT_SUPPORTED",
    (1, 1, 3): "CALLING_AE_TITLE_NOT_RECOGNISED",
    (1, 1, 7): "CALLED_AE_TITLE_NOT_RECOGNISED",
    (1, 2, 2): "PROTOCOL_VERSION_NOT_SUPPORTED",
}
NO_REASON_GIVEN = (1, 1, 1)


def back_off_seconds(attempts: int, first_seconds: float, jitter: float) -> float:
    """Return the wait after the ``attempts``-th try: doubling from ``first_seconds`` to an hour, times ``1 + jitter``."""
    doubled: float = first_seconds * 2 ** min(attempts - 1, 20)
    return min(doubled, BACK_OFF_CAP_SECONDS) * (1.0 + jitter)
