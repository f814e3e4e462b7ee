"""The acceptor's side of the upper layer's state machine (PS3.8 9.2): which PDU may come when, and how long it may be.

The acceptor answers each request before it reads on, and never asks for a release itself (so that two cannot collide, Sta9 to
Sta12): of the standard's thirteen states three are left.
"""

from __future__ import annotations

from enum import Enum

from listener.status import Abort
from listener.upper_layer.errors import ProtocolError
from listener.upper_layer.pdu import FIXED_LENGTH, MAXIMUM_PDU_BYTES, PduType
from listener.upper_layer.proposal import MAXIMUM_REQUEST_BYTES


class State(Enum):
    """Where a connection stands (PS3.8 tables 9-1 to 9-5)."""

    AWAITING_REQUEST = "Sta2"
    ESTABLISHED = "Sta6"
    CLOSING = "Sta13"


# PS3.8 table 9-10. What is not here is an A-ABORT: AA-1 in Sta2, AA-8 in Sta6; in Sta13 everything is passed over (AA-6, AA-7).
EXPECTED: dict[State, frozenset[PduType]] = {
    State.AWAITING_REQUEST: frozenset({PduType.ASSOCIATE_RQ, PduType.ABORT}),  # AE-6; AA-2
    State.ESTABLISHED: frozenset({PduType.DATA, PduType.RELEASE_RQ, PduType.ABORT}),  # DT-2; AR-2; AA-3
}

_ANY = 0xFFFFFFFF
LENGTHS: dict[PduType, tuple[int, int]] = {
    PduType.ASSOCIATE_RQ: (0, MAXIMUM_REQUEST_BYTES),
    PduType.DATA: (1, MAXIMUM_PDU_BYTES),
    PduType.RELEASE_RQ: (FIXED_LENGTH, FIXED_LENGTH),
    PduType.ABORT: (0, _ANY),  # an abort is an abort
}


def expected(state: State, kind: int, length: int) -> PduType:
    """Return the type of a PDU, known from its header, if it may come now.

    Raises
    ------
    ProtocolError
        ``UNRECOGNISED_PDU``, ``UNEXPECTED_PDU`` or ``PDU_LENGTH``
    """
    try:
        pdu_type = PduType(kind)
    except ValueError as error:
        raise ProtocolError(Abort.UNRECOGNISED_PDU) from error
    if pdu_type not in EXPECTED[state]:
        raise ProtocolError(Abort.UNEXPECTED_PDU)
    least, most = LENGTHS[pdu_type]
    if not least <= length <= most:
        raise ProtocolError(Abort.PDU_LENGTH)
    return pdu_type


def abort_codes(state: State, reason: Abort) -> tuple[int, int]:
    """Return Source and Reason/Diag. of an A-ABORT: before an association it comes from the service user (AA-1)."""
    return (0, 0) if state is State.AWAITING_REQUEST else reason.codes
