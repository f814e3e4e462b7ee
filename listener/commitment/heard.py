"""Reads the data set of a report on what we asked a destination to commit (PS3.4 table J.3-2).

It comes from the network: it is walked over as the requests are, without recursion and with bounds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from listener.commitment.report import FAILED_SOP_SEQUENCE, FAILURE_REASON
from listener.commitment.request import (
    MAX_REFERENCES,
    MAX_REQUEST_BYTES,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    TRANSACTION_UID,
    Reader,
)
from listener.commitment.status import RequestFault, RequestRefusedError
from listener.registry import IMPLICIT_VR_LITTLE_ENDIAN
from listener.storage.dataset import ITEM_END


@dataclass(frozen=True, slots=True)
class HeardReport:
    """What is committed and what is not; ``failures``: SOP Instance UID -> Failure Reason (0008,1197), 0 where none is given."""

    transaction_uid: str
    committed: frozenset[str]
    failures: dict[str, int]


def read_report(data: bytes, transfer_syntax_uid: str) -> HeardReport:
    """Read and check a data set, from its first byte to its last. An instance that also failed is not committed.

    Raises
    ------
    RequestRefusedError
        the fault decides the status of the response
    """
    if not data:
        raise RequestRefusedError(RequestFault.NO_DATA_SET)
    if len(data) > MAX_REQUEST_BYTES:
        raise RequestRefusedError(RequestFault.TOO_LARGE)
    reader = Reader(data, implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN)
    transaction_uid, named = "", {REFERENCED_SOP_SEQUENCE: dict[str, int](), FAILED_SOP_SEQUENCE: dict[str, int]()}
    try:
        for tag, length in reader.elements(len(data)):
            if tag == TRANSACTION_UID:
                transaction_uid = reader.uid(length, RequestFault.NO_TRANSACTION_UID)
            elif tag in named:
                named[tag] = _named(reader, length)
            else:
                reader.skip(length)
    except struct.error as error:  # an element header that the end cuts
        raise RequestRefusedError(RequestFault.MALFORMED) from error
    if not transaction_uid:
        raise RequestRefusedError(RequestFault.NO_TRANSACTION_UID)
    failures = named[FAILED_SOP_SEQUENCE]
    return HeardReport(transaction_uid, frozenset(named[REFERENCED_SOP_SEQUENCE].keys() - failures.keys()), failures)


def _named(reader: Reader, length: int) -> dict[str, int]:
    """Return the SOP Instance UIDs of a sequence's items, each with its Failure Reason."""
    found: dict[str, int] = {}
    for item_length in reader.items(length):
        uid, reason = "", 0
        for tag, value_length in reader.elements(reader.end_of(item_length), ITEM_END):
            if tag == REFERENCED_SOP_INSTANCE_UID:
                uid = reader.uid(value_length, RequestFault.REFERENCE_FORM)
            elif tag == FAILURE_REASON:
                reason = reader.number(value_length)
            else:
                reader.skip(value_length)
        if not uid:
            raise RequestRefusedError(RequestFault.REFERENCE_FORM)
        found[uid] = reason
        if len(found) > MAX_REFERENCES:
            raise RequestRefusedError(RequestFault.TOO_MANY_REFERENCES)
    return found
