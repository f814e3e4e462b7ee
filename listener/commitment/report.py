"""The report on a storage commitment request, and its data set (PS3.4 table J.3-2). Pure.

The data set is three kinds of elements, written here as bytes: for 10,000 instances a hundredth of what a general encoder
takes, in a process that receives meanwhile.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from listener.commitment.request import (
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    TRANSACTION_UID,
    CommitmentRequest,
    Reference,
)
from listener.commitment.status import EventType
from listener.registry import IMPLICIT_VR_LITTLE_ENDIAN

FAILURE_REASON = 0x00081197
FAILED_SOP_SEQUENCE = 0x00081198
_ITEM = 0xFFFEE000


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What is committed and what is not; ``failed`` has the Failure Reason (0008,1197) of each."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]

    @property
    def event_type(self) -> EventType:
        """Event Type ID (0000,1002)."""
        return EventType.FAILURES_EXIST if self.failed else EventType.ALL_COMMITTED


def report_on(request: CommitmentRequest, failures: Mapping[str, int]) -> CommitmentReport:
    """Return the report on a request of which these SOP Instance UIDs failed, with their reasons."""
    return CommitmentReport(
        request.transaction_uid,
        tuple(r for r in request.references if r.sop_instance_uid not in failures),
        tuple((r, failures[r.sop_instance_uid]) for r in request.references if r.sop_instance_uid in failures),
    )


def encoded(report: CommitmentReport, transfer_syntax_uid: str) -> bytes:
    """Return the Event Information in Implicit or Explicit VR Little Endian; an empty sequence is left out (type 1C)."""
    element = _implicit if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN else _explicit

    def item(reference: Reference, *more: bytes) -> bytes:
        uids = (
            element(REFERENCED_SOP_CLASS_UID, b"UI", _uid(reference.sop_class_uid)),
            element(REFERENCED_SOP_INSTANCE_UID, b"UI", _uid(reference.sop_instance_uid)),
        )
        return _implicit(_ITEM, b"", b"".join((*uids, *more)))

    def sequence(tag: int, items: Iterable[bytes]) -> bytes:
        value = b"".join(items)
        return element(tag, b"SQ", value) if value else b""

    reasons = {why: element(FAILURE_REASON, b"US", struct.pack("<H", why)) for _, why in report.failed}
    return b"".join(
        (
            element(TRANSACTION_UID, b"UI", _uid(report.transaction_uid)),
            sequence(FAILED_SOP_SEQUENCE, (item(r, reasons[why]) for r, why in report.failed)),
            sequence(REFERENCED_SOP_SEQUENCE, (item(r) for r in report.committed)),
        )
    )


def _uid(uid: str) -> bytes:
    value = uid.encode("ascii")
    return value + b"\0" * (len(value) % 2)  # PS3.5 9.1


def _implicit(tag: int, vr: bytes, value: bytes) -> bytes:  # noqa: ARG001  # one signature with ``_explicit``
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def _explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    length = struct.pack("<2xI" if vr == b"SQ" else "<H", len(value))  # PS3.5 7.1.2
    return struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr) + length + value
