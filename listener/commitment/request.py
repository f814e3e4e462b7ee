"""Reads the data set of a storage commitment request: which instances it names (PS3.4 table J.3-1).

It comes from the network: it is walked over without recursion, with bounds, in the two syntaxes that are negotiated for it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from listener.commitment.status import RequestFault, RequestRefusedError
from listener.registry import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from listener.storage.dataset import ITEM, ITEM_END, SEQUENCE_END, SHORT_VRS, UNDEFINED

TRANSFER_SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
MAX_REFERENCES = 30_000  # a PET/CT study has some thousands of instances
MAX_REQUEST_BYTES = 8 * 1024**2

TRANSACTION_UID = 0x00081195
REFERENCED_SOP_SEQUENCE = 0x00081199
REFERENCED_SOP_CLASS_UID = 0x00081150
REFERENCED_SOP_INSTANCE_UID = 0x00081155

# Only what can be sent back and compared; a leading zero in a component is the sender's own affair here.
_UID = re.compile(rb"[0-9.]{1,64}")
T = TypeVar("T")
_TAG, _SHORT, _LONG = struct.Struct("<HH"), struct.Struct("<H"), struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that is to be committed."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a request asks: each instance once, in its order."""

    transaction_uid: str
    references: tuple[Reference, ...]


def read_request(data: bytes, transfer_syntax_uid: str) -> CommitmentRequest:
    """Read and check the data set of an N-ACTION, from its first byte to its last.

    Raises
    ------
    RequestRefusedError
        the fault decides the status of the response
    """
    transaction_uid, read = read_sequences(data, transfer_syntax_uid, {REFERENCED_SOP_SEQUENCE: _references})
    references = read.get(REFERENCED_SOP_SEQUENCE)
    if not references:
        raise RequestRefusedError(RequestFault.NO_REFERENCES)
    return CommitmentRequest(transaction_uid, tuple(references))


def read_sequences(
    data: bytes, transfer_syntax_uid: str, readers: Mapping[int, Callable[[Reader, int], T]]
) -> tuple[str, dict[int, T]]:
    """Return Transaction UID (0008,1195) and what the readers made of their sequences; all else is skipped.

    Raises
    ------
    RequestRefusedError
        empty, too large, malformed, or without Transaction UID
    """
    if not data:
        raise RequestRefusedError(RequestFault.NO_DATA_SET)
    if len(data) > MAX_REQUEST_BYTES:
        raise RequestRefusedError(RequestFault.TOO_LARGE)
    reader = Reader(data, implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN)
    transaction_uid, read = "", dict[int, T]()
    try:
        for tag, length in reader.elements(len(data)):
            if tag == TRANSACTION_UID:
                transaction_uid = reader.uid(length, RequestFault.NO_TRANSACTION_UID)
            elif tag in readers:
                read[tag] = readers[tag](reader, length)
            else:
                reader.skip(length)
    except struct.error as error:  # an element header that the end cuts
        raise RequestRefusedError(RequestFault.MALFORMED) from error
    if not transaction_uid:
        raise RequestRefusedError(RequestFault.NO_TRANSACTION_UID)
    return transaction_uid, read


def _references(reader: Reader, length: int) -> dict[Reference, None]:
    found: dict[Reference, None] = {}
    for item_length in reader.items(length):
        uids = {REFERENCED_SOP_CLASS_UID: "", REFERENCED_SOP_INSTANCE_UID: ""}
        for tag, value_length in reader.elements(reader.end_of(item_length), ITEM_END):
            if tag in uids:
                uids[tag] = reader.uid(value_length, RequestFault.REFERENCE_FORM)
            else:
                reader.skip(value_length)
        if not all(uids.values()):
            raise RequestRefusedError(RequestFault.REFERENCE_FORM)
        found[Reference(*uids.values())] = None
        if len(found) > MAX_REFERENCES:
            raise RequestRefusedError(RequestFault.TOO_MANY_REFERENCES)
    return found


class Reader:
    """A cursor over an encoded data set; ``struct.error`` where a header lies beyond the end."""

    def __init__(self, data: bytes, *, implicit: bool) -> None:
        self._data = data
        self._implicit = implicit
        self._at = 0
        self._vr = b""  # of the last header; empty where it is not written

    def elements(self, end: int | None, delimiter: int = 0) -> Iterator[tuple[int, int]]:
        """Yield tag and length of each element up to ``end``, or up to a delimiter; the caller reads or skips the value."""
        while end is None or self._at < end:
            tag, length = self._header()
            if end is None and tag == delimiter:
                return
            if tag >> 16 == 0xFFFE:  # a delimiter that is not owed, or an item outside a sequence
                raise RequestRefusedError(RequestFault.MALFORMED)
            yield tag, length
        if self._at != end:
            raise RequestRefusedError(RequestFault.MALFORMED)

    def items(self, length: int) -> Iterator[int]:
        """Yield the length of each item of a sequence; the caller reads it."""
        end = self.end_of(length)
        while end is None or self._at < end:
            tag, item_length = self._header()
            if end is None and tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise RequestRefusedError(RequestFault.MALFORMED)
            yield item_length
        if self._at != end:
            raise RequestRefusedError(RequestFault.MALFORMED)

    def end_of(self, length: int) -> int | None:
        """Return where a value that begins here ends, None where a delimiter says it."""
        if length == UNDEFINED:
            return None
        if self._at + length > len(self._data):
            raise RequestRefusedError(RequestFault.MALFORMED)
        return self._at + length

    def uid(self, length: int, fault: RequestFault) -> str:
        """Read a UID without its padding."""
        start, end = self._at, self.end_of(length)
        if end is None or length > 66:
            raise RequestRefusedError(fault)
        self._at = end
        value = self._data[start:end].strip(b" \0")
        if not _UID.fullmatch(value):
            raise RequestRefusedError(fault)
        return value.decode("ascii")

    def number(self, length: int) -> int:
        """Read a US."""
        end = self.end_of(length)
        if length != _SHORT.size or end is None:
            raise RequestRefusedError(RequestFault.MALFORMED)
        (value,) = _SHORT.unpack_from(self._data, self._at)
        self._at = end
        return int(value)

    def skip(self, length: int) -> None:
        """Go past a value, whatever is nested in it."""
        if (end := self.end_of(length)) is not None:
            self._at = end
            return
        owed = [self._implicit]  # one for each delimiter that is owed: the encoding that holds again after it
        self._implicit = self._implicit or self._vr == b"UN"  # PS3.5 6.2.2, note 4
        while owed:
            tag, inner = self._header()
            if tag in (ITEM_END, SEQUENCE_END):
                self._implicit = owed.pop()
            elif (end := self.end_of(inner)) is not None:
                self._at = end
            else:
                owed.append(self._implicit)
                self._implicit = self._implicit or self._vr == b"UN"

    def _header(self) -> tuple[int, int]:
        """Return tag and length of the element here, and go to its value."""
        group, element = _TAG.unpack_from(self._data, self._at)
        at, self._vr = self._at + 4, b""
        if self._implicit or group == 0xFFFE:
            (length,) = _LONG.unpack_from(self._data, at)
            self._at = at + 4
            return group << 16 | element, length
        self._vr = self._data[at : at + 2]
        if self._vr in SHORT_VRS:
            (length,) = _SHORT.unpack_from(self._data, at + 2)
            self._at = at + 4
        elif self._vr.isalpha() and self._vr.isupper():
            (length,) = _LONG.unpack_from(self._data, at + 4)
            self._at = at + 8
        else:
            raise RequestRefusedError(RequestFault.MALFORMED)
        return group << 16 | element, length
