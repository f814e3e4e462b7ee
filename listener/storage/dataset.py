"""Walks over an encoded data set as it arrives, without decoding it and without recursion, whatever the nesting.

pydicom reads nested sequences of undefined length by recursion, so a small file can exhaust the stack; here
nesting is a list of the delimiters that are still owed. Values are jumped over by their length, so the cost
is a few hundred small steps for an image. Between two pieces only the unfinished element is kept: its header and, if it is
asked for, the beginning of its value.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container
from dataclasses import dataclass
from typing import Protocol

from listener.registry import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from listener.status import Fault, InstanceRefusedError

UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 64  # sequences inside sequences; the deepest of the standard's (SR content) stay below 20
MAX_ELEMENTS = (
    4 * 1024**2
)  # large multi-frame objects and structure sets have some hundred thousand; this many take a second
MAX_INFLATED_BYTES = 1024**3
VALUE_BYTES = 128  # of a value that is asked for, twice the longest UID
_INFLATED_AT_ONCE, _DEFLATED_AT_ONCE = 1024**2, 64 * 1024

_LONG_HEADER, _SHORT_HEADER = 12, 8  # bytes of tag, VR and length (PS3.5 7.1.2, 7.1.3)
_DELIMITATION = 0xFFFE  # group of items and delimiters, which have no VR (PS3.5 7.5)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 table 7.5-1
_ENDS = (ITEM_END & 0xFFFF, SEQUENCE_END & 0xFFFF)
# VRs whose length field has 16 bits; all others, known or to come, have 2 reserved bytes and 32 bits (PS3.5 7.1.2)
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written: ``implicit`` without VR; ``order`` the struct sign of the byte order."""

    implicit: bool
    order: str


IMPLICIT_LITTLE = Encoding(implicit=True, order="<")
EXPLICIT_LITTLE = Encoding(implicit=False, order="<")
EXPLICIT_BIG = Encoding(implicit=False, order=">")

_HEADER = {order: struct.Struct(f"{order}HH2sH").unpack_from for order in "<>"}  # group, element, VR, 16-bit length
_LENGTH = {order: struct.Struct(f"{order}I").unpack_from for order in "<>"}


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return how a data set of this transfer syntax is written (PS3.5 Annex A: all compressed ones are explicit little)."""
    if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else EXPLICIT_LITTLE


class Scanner(Protocol):
    """Checks a data set from its first byte to its last while it arrives; after a fault it is of no more use."""

    def feed(self, data: memoryview) -> None:
        """Take the next bytes, cut anywhere; nothing refers to them after the return.

        Raises
        ------
        InstanceRefusedError
            MALFORMED: a delimiter that was not owed, a VR that is none; NESTED_TOO_DEEP; TOO_MANY_ELEMENTS;
            INFLATED_TOO_LARGE
        """

    def finish(self) -> dict[int, bytes]:
        """Return the top-level elements that were asked for: tag ggggeeee -> first bytes of the value.

        Raises
        ------
        InstanceRefusedError
            CUT_SHORT: a value or a delimiter lies beyond the end
        """


def scanner(transfer_syntax_uid: str, wanted: Container[int]) -> Scanner:
    """Return a scanner for a data set in this transfer syntax that looks for the wanted tags (ggggeeee)."""
    walk = DataSetScanner(encoding_of(transfer_syntax_uid), wanted)
    return InflatingScanner(walk) if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN else walk


class DataSetScanner:
    """The walk; see ``Scanner``. A wanted element of undefined length has an empty value.

    Parameters
    ----------
    value_bytes
        how much of a wanted value is kept
    """

    def __init__(self, encoding: Encoding, wanted: Container[int], value_bytes: int = VALUE_BYTES) -> None:
        self._encoding = encoding
        self._wanted = wanted
        self._value_bytes = value_bytes
        self._owed: list[tuple[int, Encoding]] = []  # delimiter, and the encoding that holds again after it
        self._values: dict[int, bytes] = {}
        self._rest = b""  # an element that is not whole yet
        self._elements_left = MAX_ELEMENTS
        self._skip = 0  # bytes of a value that are still to come and need not be looked at

    def feed(self, data: memoryview) -> None:
        """Take the next bytes."""
        position = self._skip
        if self._rest:  # the walk over its end brings the position back into the data
            joint = self._rest + bytes(data[: _LONG_HEADER + self._value_bytes])
            walked = self._walk(joint, 0)
            if not walked:
                self._rest = joint
                return
            position, self._rest = walked - len(self._rest), b""
        if position < len(data):
            position = self._walk(data, position)
            self._rest = bytes(data[position:])
        self._skip = max(0, position - len(data))

    def finish(self) -> dict[int, bytes]:
        """Return what was found."""
        padding = len(self._rest) < _SHORT_HEADER and not any(self._rest)  # a few zeros, as some writers leave them
        if self._skip or self._owed or not padding:
            raise InstanceRefusedError(Fault.CUT_SHORT)
        return self._values

    def _walk(self, data: bytes | memoryview, position: int) -> int:
        """Go on as far as elements are whole, and return the position of the next one; it may lie behind the data."""
        encoding = None
        while encoding is not self._encoding:
            encoding = self._encoding
            position = self._stretch(data, position)
        return position

    def _stretch(self, data: bytes | memoryview, position: int) -> int:
        """Walk until the data end or the encoding changes."""
        encoding, owed, wanted, end = self._encoding, self._owed, self._wanted, len(data)
        implicit, header_at, length_at = encoding.implicit, _HEADER[encoding.order], _LENGTH[encoding.order]
        for walked in range(self._elements_left):
            if end - position < _SHORT_HEADER:
                break
            group, element, vr, length = header_at(data, position)
            start = position + _SHORT_HEADER
            if implicit or group == _DELIMITATION:
                (length,) = length_at(data, position + 4)
            elif vr not in SHORT_VRS:
                if not (vr.isalpha() and vr.isupper()):
                    raise InstanceRefusedError(Fault.MALFORMED)
                if end - position < _LONG_HEADER:
                    break
                (length,) = length_at(data, position + 8)
                start = position + _LONG_HEADER
            if length == UNDEFINED or (group == _DELIMITATION and element in _ENDS):
                self._nest(group << 16 | element, vr)
                position = start
                if self._encoding is not encoding:
                    walked += 1
                    break
                continue
            if not owed and (tag := group << 16 | element) in wanted:
                stop = start + min(length, self._value_bytes)
                if stop > end:
                    break
                self._values[tag] = bytes(data[start:stop])
            position = start + length
        else:
            raise InstanceRefusedError(Fault.TOO_MANY_ELEMENTS)
        self._elements_left -= walked
        return position

    def _nest(self, tag: int, vr: bytes) -> None:
        """Go into a sequence or an item of undefined length, or out of it."""
        if tag in (ITEM_END, SEQUENCE_END):  # their length is zero, and not looked at
            if not self._owed or self._owed[-1][0] != tag:
                raise InstanceRefusedError(Fault.MALFORMED)
            self._encoding = self._owed.pop()[1]
            return
        if not self._owed and tag in self._wanted:
            self._values[tag] = b""
        self._owed.append((ITEM_END if tag == ITEM else SEQUENCE_END, self._encoding))
        if len(self._owed) > 2 * MAX_DEPTH:
            raise InstanceRefusedError(Fault.NESTED_TOO_DEEP)
        if vr == b"UN":
            self._encoding = IMPLICIT_LITTLE  # PS3.5 6.2.2, note 4


class InflatingScanner:
    """Inflates what arrives (PS3.5 A.5) and walks over it, a piece at a time; see ``Scanner``.

    Parameters
    ----------
    limit
        bytes of the inflated data set
    """

    def __init__(self, walk: DataSetScanner, limit: int = MAX_INFLATED_BYTES) -> None:
        self._walk = walk
        self._left = limit
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def feed(self, data: memoryview) -> None:
        """Take the next bytes; what follows the end of the compressed stream is padding."""
        for at in range(0, len(data), _DEFLATED_AT_ONCE):
            self._inflate(data[at : at + _DEFLATED_AT_ONCE])

    def _inflate(self, deflated: bytes | memoryview) -> None:
        while not self._inflater.eof:
            try:
                inflated = self._inflater.decompress(deflated, _INFLATED_AT_ONCE)
            except zlib.error as error:
                raise InstanceRefusedError(Fault.MALFORMED) from error
            self._left -= len(inflated)
            if self._left < 0:
                raise InstanceRefusedError(Fault.INFLATED_TOO_LARGE)
            self._walk.feed(memoryview(inflated))
            if len(inflated) < _INFLATED_AT_ONCE:
                break
            deflated = self._inflater.unconsumed_tail

    def finish(self) -> dict[int, bytes]:
        """Return what was found."""
        if not self._inflater.eof:
            raise InstanceRefusedError(Fault.CUT_SHORT)
        return self._walk.finish()
