"""Any bytes as a storage commitment request: read or refused, and what is read names what pydicom finds.

The first byte of an input says the transfer syntax.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from pydicom import Dataset, dcmread

from listener.commitment.request import CommitmentRequest, read_request
from listener.commitment.status import RequestRefusedError
from listener.storage.part10 import file_head
from tests.listener.requester import EXPLICIT, IMPLICIT, as_bytes, request

SYNTAXES = (EXPLICIT, IMPLICIT)


def check(encoded: bytes) -> None:
    """Read a request and compare; raises AssertionError."""
    syntax, data = (SYNTAXES[encoded[0] % 2], encoded[1:]) if encoded else (EXPLICIT, b"")
    try:
        found = read_request(data, syntax)
    except RequestRefusedError:
        return
    assert all(_is_plain(uid) for uid in (found.transaction_uid, *(r.sop_instance_uid for r in found.references)))
    _compare(syntax, data, found)


def _is_plain(uid: str) -> bool:
    return 0 < len(uid) <= 64 and set(uid) <= set("0123456789.")


def _compare(syntax: str, data: bytes, found: CommitmentRequest) -> None:
    """Where pydicom reads what was taken, it finds the same instances."""
    try:
        ds = dcmread(io.BytesIO(file_head("1.2", "1.2", syntax) + data))
        transaction = _text(ds, "TransactionUID")
        named = [
            (_text(i, "ReferencedSOPClassUID"), _text(i, "ReferencedSOPInstanceUID")) for i in ds.ReferencedSOPSequence
        ]
    except Exception:  # noqa: BLE001  # pydicom is not the one that is tested: a request is never given to it
        return
    assert transaction == found.transaction_uid
    assert list(dict.fromkeys(named)) == [(r.sop_class_uid, r.sop_instance_uid) for r in found.references]


def _text(ds: Dataset, keyword: str) -> str:
    return str(ds[keyword].value).strip(" \0")


def request_bytes(syntax: str = EXPLICIT) -> bytes:
    """Return a request for two instances."""
    return as_bytes(request(["1.2.3", "1.2.4"]), syntax)


def seeds() -> Iterator[bytes]:
    """Yield requests with lengths and with delimiters, in both syntaxes."""
    for number, syntax in enumerate(SYNTAXES):
        yield bytes([number]) + request_bytes(syntax)
        ds = request(["1.2.3", "1.2.4"])
        ds["ReferencedSOPSequence"].is_undefined_length = True
        for one in ds.ReferencedSOPSequence:
            one.is_undefined_length_sequence_item = True
        yield bytes([number]) + as_bytes(ds, syntax)
