"""Walks over an encoded data set without decoding it and without recursion, whatever the nesting.

pydicom reads nested sequences of undefined length by recursion, so a small file can exhaust the stack; here
nesting is a list of the delimiters that are still owed. Values are jumped over by their length, so the cost
is a few hundred small steps for an image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from listener.status import Fault, InstanceRefusedError

UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 64  # sequences inside sequences; the deepest of the standard's (SR content) stay below 20
MAX_INFLATED_BYTES = 1024**3
_CHUNK = 1024**2

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 table 7.5-1
# VRs whose length field has 16 bits; all others, known or to come, have 2 reserved bytes and 32 bits (PS3.5 7.1.2)
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written: ``implicit`` without VR; ``order`` the struct sign of the byte order."""

    implicit: bool
    order: str


IMPLICIT_LITTLE = Encoding(implicit=True, order="<")
EXPLICIT_LITTLE = Encoding(implicit=False, order="<")
EXPLICIT_BIG = Encoding(implicit=False, order=">")


@dataclass(frozen=True, slots=True)
class Element:
    """A top-level element: ``tag`` ggggeeee, and where its value lies; ``length`` is None for an undefined one."""

    tag: int
    start: int
    length: int | None


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return how a data set of this transfer syntax is written (PS3.5 Annex A: all compressed ones are explicit little)."""
    if transfer_syntax_uid == ImplicitVRLittleEndian:
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if transfer_syntax_uid == ExplicitVRBigEndian else EXPLICIT_LITTLE


def plain(data: bytes, transfer_syntax_uid: str, limit: int = MAX_INFLATED_BYTES) -> bytes:
    """Return the data set itself: inflated where the transfer syntax is deflated (PS3.5 A.5), else as it is.

    Raises
    ------
    InstanceRefusedError
        INFLATED_TOO_LARGE (``limit`` is in bytes), CUT_SHORT or MALFORMED
    """
    if transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return data
    inflater, parts, size = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    try:
        while not inflater.eof and data:
            parts.append(inflater.decompress(data, _CHUNK))
            data, size = inflater.unconsumed_tail, size + len(parts[-1])
            if size > limit:
                raise InstanceRefusedError(Fault.INFLATED_TOO_LARGE)
    except zlib.error as error:
        raise InstanceRefusedError(Fault.MALFORMED) from error
    if not inflater.eof:
        raise InstanceRefusedError(Fault.CUT_SHORT)
    return b"".join(parts)


def elements(data: bytes, encoding: Encoding) -> Iterator[Element]:
    """Yield the top-level elements of a data set, checked to its last byte.

    Raises
    ------
    InstanceRefusedError
        CUT_SHORT: a value or a delimiter lies beyond the end; MALFORMED: a delimiter that was not owed, a VR that is
        none; NESTED_TOO_DEEP
    """
    owed: list[tuple[int, Encoding]] = []  # delimiter, and the encoding that holds again after it
    position, end = 0, len(data)
    while position < end:
        if end - position < 8:
            if any(data[position:]):
                raise InstanceRefusedError(Fault.CUT_SHORT)
            break  # a few padding zeros, as some writers leave them
        tag, vr, length, start = _header(data, position, encoding)
        position = start
        if tag in (_ITEM_END, _SEQUENCE_END):
            encoding = _paid(owed, tag)
        elif length == UNDEFINED:
            if not owed:
                yield Element(tag, start, None)
            owed.append((_ITEM_END if tag == _ITEM else _SEQUENCE_END, encoding))
            if len(owed) > 2 * MAX_DEPTH:
                raise InstanceRefusedError(Fault.NESTED_TOO_DEEP)
            if vr == b"UN":
                encoding = IMPLICIT_LITTLE  # PS3.5 6.2.2, note 4
        else:
            position += length
            if position > end:
                raise InstanceRefusedError(Fault.CUT_SHORT)
            if not owed:
                yield Element(tag, start, length)
    if owed:
        raise InstanceRefusedError(Fault.CUT_SHORT)


def _header(data: bytes, position: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    """Return tag, VR (empty if not written), length and the position of the value."""
    group, element = struct.unpack_from(f"{encoding.order}HH", data, position)
    tag = group << 16 | element
    if encoding.implicit or group == 0xFFFE:
        (length,) = struct.unpack_from(f"{encoding.order}I", data, position + 4)
        return tag, b"", length, position + 8
    vr = data[position + 4 : position + 6]
    if vr in _SHORT_VRS:
        (length,) = struct.unpack_from(f"{encoding.order}H", data, position + 6)
        return tag, vr, length, position + 8
    if not (vr.isalpha() and vr.isupper()):
        raise InstanceRefusedError(Fault.MALFORMED)
    if len(data) - position < 12:
        raise InstanceRefusedError(Fault.CUT_SHORT)
    (length,) = struct.unpack_from(f"{encoding.order}I", data, position + 8)
    return tag, vr, length, position + 12


def _paid(owed: list[tuple[int, Encoding]], tag: int) -> Encoding:
    if not owed or owed[-1][0] != tag:
        raise InstanceRefusedError(Fault.MALFORMED)
    return owed.pop()[1]
