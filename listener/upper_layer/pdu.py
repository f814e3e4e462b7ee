"""The seven PDUs of the upper layer (PS3.8 9.3): their headers, and those that an acceptor sends, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from listener.status import Rejection

MAXIMUM_PDU_BYTES = (
    131072  # that we announce (PS3.8 D.1): the length field of a P-DATA-TF, so without its 6 bytes of header
)

HEADER = struct.Struct(">BxI")  # PDU type, PDU length
VALUE_HEADER = struct.Struct(
    ">IBB"
)  # item length, presentation context ID, message control header (PS3.8 9.3.5.1, E.2)
COMMAND, LAST = 1, 2  # bits of the message control header (PS3.8 E.2)

_VALUE_OVERHEAD = VALUE_HEADER.size  # of a PDU with one value
_ONE_VALUE = struct.Struct(">BxIIBB")
_SHORT = struct.Struct(">BxIxBBB")  # A-ASSOCIATE-RJ, A-ABORT


class PduType(IntEnum):
    """PDU type, the first byte (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    DATA = 0x04  # P-DATA-TF
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


FIXED_LENGTH = 4  # of A-ASSOCIATE-RJ, A-RELEASE-RQ, A-RELEASE-RP and A-ABORT (PS3.8 9.3.4, 9.3.6 to 9.3.8)
RELEASE_RP = HEADER.pack(PduType.RELEASE_RP, FIXED_LENGTH) + bytes(FIXED_LENGTH)


def rejection(reason: Rejection) -> bytes:
    """Encode an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""
    return _SHORT.pack(PduType.ASSOCIATE_RJ, FIXED_LENGTH, *reason.codes)


def abort(source: int, reason: int) -> bytes:
    """Encode an A-ABORT (PS3.8 table 9-26)."""
    return _SHORT.pack(PduType.ABORT, FIXED_LENGTH, 0, source, reason)


def message(context_id: int, command: bytes, data: bytes, maximum: int) -> bytes:
    """Encode a DIMSE message as P-DATA-TF PDUs, one value each.

    Parameters
    ----------
    maximum
        PDU length that the peer takes; 0: any (PS3.8 D.1)
    """
    pdus = list(_values(context_id, command, COMMAND, maximum))
    if data:
        pdus += _values(context_id, data, 0, maximum)
    return b"".join(pdus)


def _values(context_id: int, content: bytes, kind: int, maximum: int) -> Iterator[bytes]:
    size = max(maximum - _VALUE_OVERHEAD, 2) if maximum else len(content)
    for start in range(0, len(content), size):
        part = content[start : start + size]
        control = kind | (LAST if start + size >= len(content) else 0)
        head = _ONE_VALUE.pack(PduType.DATA, len(part) + _VALUE_OVERHEAD, len(part) + 2, context_id, control)
        yield head + part
