"""Reads the data set of a report on what we asked a destination to commit (PS3.4 table J.3-2).

It comes from the network: it is walked over as the requests are, without recursion and with bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

from listener.commitment.report import FAILED_SOP_SEQUENCE, FAILURE_REASON
from listener.commitment.request import (
    MAX_REFERENCES,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    Reader,
    read_sequences,
)
from listener.commitment.status import RequestFault, RequestRefusedError
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
    sequences = {REFERENCED_SOP_SEQUENCE: _named, FAILED_SOP_SEQUENCE: _named}
    transaction_uid, named = read_sequences(data, transfer_syntax_uid, sequences)
    committed, failures = (named.get(tag, {}) for tag in sequences)
    return HeardReport(transaction_uid, frozenset(committed.keys() - failures.keys()), failures)


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
