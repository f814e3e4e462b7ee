"""Any bytes as a data set: taken or refused, whole as in pieces, and what is taken says to pydicom what it says to us.

The first byte of an input says the transfer syntax and how the rest, the data set, is cut. The limits are made small, so that
short inputs reach them.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterable, Iterator
from unittest.mock import patch

from pydicom import dcmread

from listener.status import Fault, InstanceRefusedError
from listener.storage import dataset
from listener.storage.dataset import DataSetScanner, InflatingScanner
from listener.storage.facts import FactsReader, InstanceFacts, StoreCommand
from listener.storage.part10 import file_head

CT, UID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
IMPLICIT, EXPLICIT, DEFLATED, BIG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
SYNTAXES = (EXPLICIT, IMPLICIT, BIG, DEFLATED, DEFLATED)
UIDS = {
    "SOPClassUID": "sop_class_uid",
    "SOPInstanceUID": "sop_instance_uid",
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
}
PIECES = (1, 2, 3, 7, 8, 12, 50, 128, 1000)
MAX_REST_BYTES = 2 * (12 + 128)  # what the scanner may keep between two pieces: an unfinished element and as much again


def check(encoded: bytes) -> None:
    """Read a data set twice and compare; raises AssertionError."""
    how, data = (encoded[0], encoded[1:]) if encoded else (0, b"")
    syntax = SYNTAXES[how % len(SYNTAXES)]
    if how % len(SYNTAXES) == 4:  # else hardly anything would get through the inflater
        data = deflated(data)
    with patch.multiple(dataset, MAX_DEPTH=4, MAX_ELEMENTS=50):
        whole = outcome(syntax, [data])
        pieces = outcome(syntax, list(_cut(data, how)))
    # the inflater fails before it gives what it had, so of two faults either may be the first
    assert pieces == whole or (syntax == DEFLATED and isinstance(pieces, Fault) and isinstance(whole, Fault))
    if isinstance(whole, InstanceFacts):
        _compare(syntax, data, whole)


def outcome(syntax: str, pieces: Iterable[bytes]) -> InstanceFacts | Fault:
    """Return the facts of a data set, or why it is refused."""
    reader = FactsReader(StoreCommand(CT, UID, CT, syntax))
    try:
        for piece in pieces:
            reader.feed(memoryview(piece))
            assert _kept(reader) <= MAX_REST_BYTES
        return reader.finish()
    except InstanceRefusedError as error:
        return error.fault


def _kept(reader: FactsReader) -> int:
    scanner = reader._scanner
    walk = scanner._walk if isinstance(scanner, InflatingScanner) else scanner
    assert isinstance(walk, DataSetScanner)
    return len(walk._rest)


def _cut(data: bytes, seed: int) -> Iterator[bytes]:
    chosen = random.Random(seed)
    while data:
        size = chosen.choice(PIECES)
        yield data[:size]
        data = data[size:]


def _compare(syntax: str, data: bytes, facts: InstanceFacts) -> None:
    """What pydicom finds of an instance that was taken is what we found.

    It may find less: it ends a value of undefined length at the first delimiter, even where sequences are nested in it.
    """
    try:
        ds = dcmread(io.BytesIO(file_head(CT, UID, syntax) + data))
        found = {keyword: str(ds.get(keyword, "")).strip(" \0") for keyword in UIDS}
    except Exception:  # noqa: BLE001  # pydicom is not the one that is tested: what it cannot read is refused later
        return
    for keyword, name in UIDS.items():
        assert found[keyword] in ("", getattr(facts, name)), keyword


def deflated(data: bytes) -> bytes:
    """Return a data set as its deflated transfer syntax has it (PS3.5 A.5)."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def data_set(
    *, implicit: bool = False, big: bool = False, nested: bytes = b"", pixel_bytes: int = 10, sop_class: str = CT
) -> bytes:
    """Return a small data set; ``nested`` is an element that goes behind its texts."""
    how = implicit, big
    uids = ((8, 0x16, sop_class), (8, 0x18, UID), (0x20, 0xD, "1.2"), (0x20, 0xE, "1.2.1"), (0x20, 0x52, "1.2.9"))
    values = [(group, number, b"UI", uid.encode() + b"\0" * (len(uid) % 2)) for group, number, uid in uids]
    values += [(8, 0x60, b"CS", b"CT"), (8, 5, b"CS", b"ISO_IR 192")]
    texts = b"".join(element(*value, *how) for value in sorted(values))
    return texts + nested + element(0x7FE0, 0x10, b"OW", bytes(pixel_bytes), *how)


def element(group: int, number: int, vr: bytes, value: bytes, implicit: bool = False, big: bool = False) -> bytes:
    """Return an element (PS3.5 7.1)."""
    order = ">" if big else "<"
    if implicit:
        return struct.pack(f"{order}HHI", group, number, len(value)) + value
    if vr in (b"OW", b"SQ", b"UN"):
        return struct.pack(f"{order}HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack(f"{order}HH2sH", group, number, vr, len(value)) + value


def sequence(
    content: bytes,
    vr: bytes = b"SQ",
    number: tuple[int, int] = (0x40, 0x275),
    *,
    implicit: bool = False,
    big: bool = False,
) -> bytes:
    """Return a sequence with one item, both of undefined length (PS3.5 7.5)."""
    order = ">" if big else "<"
    head = struct.pack(f"{order}HH", *number) + (b"" if implicit else struct.pack(f"{order}2sH", vr, 0))
    ends = struct.pack(f"{order}HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return head + struct.pack(f"{order}IHHI", 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) + content + ends


def seeds() -> Iterator[bytes]:
    """Yield small data sets in each syntax, with and without nested sequences."""
    for number, syntax in enumerate(SYNTAXES):
        written = {"implicit": syntax == IMPLICIT, "big": syntax == BIG}
        inner = element(8, 0x1150, b"UI", CT.encode() + b"\0", **written)
        one = sequence(inner, **written)
        for nested in (b"", one, sequence(one + inner, **written)):
            content = data_set(**written, nested=nested)
            yield bytes([number]) + (deflated(content) if number == 3 else content)
    deep = b""
    for _ in range(10):
        deep = sequence(deep)
    yield b"\0" + data_set(nested=deep)
    yield b"\0" + data_set(nested=element(0x40, 0x275, b"SQ", b"") * 60)
    unknown = sequence(element(8, 0x1150, b"UI", b"1.2", implicit=True), b"UN")
    yield b"\0" + data_set(nested=unknown) + bytes(4)
    yield b"\1" + data_set(implicit=True)[:-3]
