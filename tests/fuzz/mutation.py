"""Changes a recorded stream of PDUs as a broken or hostile peer would: parts, lengths and bytes; lengths repaired or not."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

HEADER = struct.Struct(">BxI")
VALUE = struct.Struct(">IBB")
ODD_LENGTHS = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    0x7F,
    0xFF,
    0x1FFFF,
    0x20000,
    0x20001,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
PARTS_AT_MOST = 400

Parts = list[bytes]


def mutated(stream: bytes, chosen: random.Random) -> bytes:
    """Return the stream with one to four changes."""
    parts = split(stream)[:PARTS_AT_MOST]
    for _ in range(chosen.choice((1, 1, 2, 4))):
        if parts:
            chosen.choice(CHANGES)(parts, chosen)
    return b"".join(parts)


def split(stream: bytes) -> Parts:
    """Return the PDUs of a stream, as far as their lengths are true; what is left is the last one."""
    parts, at = [], 0
    while len(stream) - at >= HEADER.size:
        end = at + HEADER.size + HEADER.unpack_from(stream, at)[1]
        if end > len(stream):
            break
        parts.append(stream[at:end])
        at = end
    return parts + ([stream[at:]] if at < len(stream) else [])


def _flip(parts: Parts, chosen: random.Random) -> None:
    n = _any(parts, chosen)
    part = bytearray(parts[n])
    if part:
        part[_early(len(part), chosen)] ^= 1 << chosen.randrange(8)
    parts[n] = bytes(part)


def _overwrite(parts: Parts, chosen: random.Random) -> None:
    n = _any(parts, chosen)
    at = _early(len(parts[n]), chosen)
    new = chosen.randbytes(chosen.choice((1, 2, 4, 16)))
    parts[n] = (parts[n][:at] + new + parts[n][at + len(new) :])[: len(parts[n])]


def _cut(parts: Parts, chosen: random.Random) -> None:
    """End inside a PDU."""
    n = _any(parts, chosen)
    parts[n] = parts[n][: _early(len(parts[n]), chosen)]
    del parts[n + 1 :]


def _shorten(parts: Parts, chosen: random.Random) -> None:
    """Take bytes out of the middle of a PDU, and go on behind it."""
    n = _any(parts, chosen)
    at = _early(len(parts[n]), chosen)
    parts[n] = parts[n][:at] + parts[n][at + chosen.choice((1, 2, 6, 100)) :]


def _insert(parts: Parts, chosen: random.Random) -> None:
    n = _any(parts, chosen)
    at = _early(len(parts[n]), chosen)
    parts[n] = parts[n][:at] + chosen.randbytes(chosen.choice((1, 2, 8, 64))) + parts[n][at:]


def _duplicate(parts: Parts, chosen: random.Random) -> None:
    n = _any(parts, chosen)
    parts.insert(chosen.randint(0, len(parts)), parts[n])


def _remove(parts: Parts, chosen: random.Random) -> None:
    del parts[_any(parts, chosen)]


def _swap(parts: Parts, chosen: random.Random) -> None:
    n, m = _any(parts, chosen), _any(parts, chosen)
    parts[n], parts[m] = parts[m], parts[n]


def _pdu_length(parts: Parts, chosen: random.Random) -> None:
    _put(parts, chosen, ">I", 2, _length(chosen))


def _pdu_type(parts: Parts, chosen: random.Random) -> None:
    _put(parts, chosen, ">B", 0, chosen.randrange(9))


def _value_length(parts: Parts, chosen: random.Random) -> None:
    _put(parts, chosen, ">I", HEADER.size, _length(chosen))


def _context(parts: Parts, chosen: random.Random) -> None:
    _put(parts, chosen, ">B", HEADER.size + 4, chosen.choice((0, 1, 2, 3, 5, 7, 255)))


def _control(parts: Parts, chosen: random.Random) -> None:
    _put(parts, chosen, ">B", HEADER.size + 5, chosen.choice((0, 1, 2, 3, 4, 255)))


def _element_length(parts: Parts, chosen: random.Random) -> None:
    """Lie about the length of something inside a message: any two or four bytes."""
    n = _any(parts, chosen)
    _put(parts, chosen, chosen.choice(("<H", "<I", ">H")), _early(len(parts[n]), chosen), _length(chosen), n)


def _cut_value(parts: Parts, chosen: random.Random) -> None:
    """Send a fragment as two, or two as one."""
    n = _any(parts, chosen)
    part = parts[n]
    if len(part) < HEADER.size + VALUE.size + 2 or part[0] != 4:
        return
    _, context_id, control = VALUE.unpack_from(part, HEADER.size)
    content = part[HEADER.size + VALUE.size :]
    at = _early(len(content), chosen)
    fragments = ((control & ~2, content[:at]), (control, content[at:]))
    values = [VALUE.pack(len(piece) + 2, context_id, bits) + piece for bits, piece in fragments]
    if chosen.random() < 0.5:
        values = [b"".join(values)]
    parts[n : n + 1] = [HEADER.pack(4, len(value)) + value for value in values]


def _repair(parts: Parts, _chosen: random.Random) -> None:
    """Make the lengths of every PDU, and of a value that fills it, true again."""
    for n, part in enumerate(parts):
        if len(part) < HEADER.size:
            continue
        body = part[HEADER.size :]
        if part[0] == 4 and len(body) >= VALUE.size:
            body = struct.pack(">I", len(body) - 4) + body[4:]
        parts[n] = HEADER.pack(part[0], len(body)) + body


CHANGES: tuple[Callable[[Parts, random.Random], None], ...] = (
    *(_flip, _overwrite, _cut, _shorten, _insert, _duplicate, _remove, _swap, _repair, _cut_value),
    *(_pdu_length, _pdu_type, _value_length, _context, _control, _element_length),
)


def _any(parts: Parts, chosen: random.Random) -> int:
    return chosen.randrange(len(parts))


def _early(length: int, chosen: random.Random) -> int:
    """Return a place in a part: half the time near its front, where headers are."""
    return chosen.randrange(max(1, min(length, 64) if chosen.random() < 0.5 else length))


def _length(chosen: random.Random) -> int:
    return chosen.choice(ODD_LENGTHS) if chosen.random() < 0.7 else chosen.getrandbits(16)


def _put(parts: Parts, chosen: random.Random, layout: str, at: int, value: int, n: int | None = None) -> None:
    n = _any(parts, chosen) if n is None else n
    size = struct.calcsize(layout)
    if len(parts[n]) >= at + size:
        part = bytearray(parts[n])
        struct.pack_into(layout, part, at, value & ((1 << 8 * size) - 1))
        parts[n] = bytes(part)
