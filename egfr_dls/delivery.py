"""Where one object stands at one destination: the states of a delivery, and which leads to which.

queued -> sent -> stored -> committed (storage commitment, PS3.4 Annex J) or verified (found by a query). An answer of the
destination decides each step; what leads aside needs a person, or has come to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class DeliveryState(StrEnum):
    """Where one object stands at one destination."""

    QUEUED = "queued"  # bytes kept, due time set
    SENT = "sent"  # request issued, no answer recorded: the same bytes go again
    STORED = "stored"  # answered with success or a warning
    COMMITTED = "committed"  # the destination has reported that it keeps it
    VERIFIED = "verified"  # a query found it there, in its study and series
    NOT_ACCEPTED = "not_accepted"  # an optional object whose SOP class the destination does not take
    PARKED = "parked"  # permanent answer: needs a person
    DEAD = "dead"  # tried for a day, and the last try failed too
    WITHDRAWN = "withdrawn"  # its result was withdrawn before the destination said that it has it: it never goes


_ANSWERED = frozenset({DeliveryState.PARKED, DeliveryState.NOT_ACCEPTED, DeliveryState.DEAD, DeliveryState.WITHDRAWN})
_AGAIN = frozenset({DeliveryState.QUEUED})  # a person says that the destination has lost it

TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.QUEUED: _ANSWERED | {DeliveryState.SENT},
    DeliveryState.SENT: _ANSWERED | {DeliveryState.SENT, DeliveryState.QUEUED, DeliveryState.STORED},
    DeliveryState.STORED: frozenset(
        {
            DeliveryState.COMMITTED,
            DeliveryState.VERIFIED,
            DeliveryState.QUEUED,  # the destination, or a person, says that it is not there
            DeliveryState.PARKED,
            DeliveryState.WITHDRAWN,  # withdrawn, and not there after all
        }
    ),
    DeliveryState.COMMITTED: _AGAIN,
    DeliveryState.VERIFIED: _AGAIN,
    DeliveryState.NOT_ACCEPTED: frozenset(),
    DeliveryState.PARKED: frozenset({DeliveryState.QUEUED, DeliveryState.WITHDRAWN}),
    DeliveryState.DEAD: frozenset({DeliveryState.QUEUED, DeliveryState.WITHDRAWN}),
    DeliveryState.WITHDRAWN: frozenset(),
}

WAITING = (DeliveryState.QUEUED, DeliveryState.SENT)
THERE = (DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.VERIFIED)
STUCK = (DeliveryState.PARKED, DeliveryState.DEAD)  # need a person
# Of a SEG: its report may follow; of a report: its PDF may.
PASSED = (*THERE, DeliveryState.NOT_ACCEPTED)
OVER = (*PASSED, DeliveryState.WITHDRAWN)  # nothing more is to be sent

# Why the deliveries of a demonstration network's results wait at a destination outside this machine.
DEMONSTRATION = "DEMONSTRATION_NOT_ALLOWED"  # [inference] allow_demonstration_models
# Why an object that is stored has no proof, though one was wanted.
NOT_PROVEN = "NOT_PROVEN"
