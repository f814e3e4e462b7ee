"""A Part 10 file as it arrives: what its file meta information says (PS3.10 7.1), and the data set behind it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain

from listener.registry import EXPLICIT_VR_LITTLE_ENDIAN
from listener.retrieve.source import SourceError
from listener.status import InstanceRefusedError
from listener.storage.dataset import scanner
from listener.storage.facts import StoreCommand

MAX_META_BYTES = 65536
_SOP_CLASS_UID, _SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID = 0x00020002, 0x00020003, 0x00020010
_GROUP_LENGTH = struct.Struct("<128x4sHH2sHI")  # preamble, prefix, (0002,0000) UL


def instance_of(content: Iterator[bytes]) -> tuple[StoreCommand, Iterator[bytes]]:
    """Return what a C-STORE-RQ would say of a file, and its data set.

    Raises
    ------
    SourceError
        PART_UNREADABLE: it is no Part 10 file
    """
    head = _at_least(_GROUP_LENGTH.size, b"", content)
    *known, length = _GROUP_LENGTH.unpack_from(head)
    if known != [b"DICM", 0x0002, 0x0000, b"UL", 4] or length > MAX_META_BYTES:
        raise _unreadable()
    end = _GROUP_LENGTH.size + length
    head = _at_least(end, head, content)
    sop_class, sop_instance, syntax = _uids(head[_GROUP_LENGTH.size : end])
    return StoreCommand(sop_class, sop_instance, sop_class, syntax), chain([head[end:]], content)


def _at_least(size: int, head: bytes, content: Iterator[bytes]) -> bytes:
    pieces, count = [head], len(head)
    while count < size:
        piece = next(content, None)
        if piece is None:
            raise _unreadable()
        pieces.append(piece)
        count += len(piece)
    return b"".join(pieces)


def _uids(meta: bytes) -> list[str]:
    wanted = (_SOP_CLASS_UID, _SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID)
    try:
        scan = scanner(EXPLICIT_VR_LITTLE_ENDIAN, wanted)
        scan.feed(memoryview(meta))
        values = scan.finish()
    except InstanceRefusedError as error:
        raise _unreadable() from error
    return [values.get(tag, b"").decode("latin-1").strip(" \0") for tag in wanted]


def _unreadable() -> SourceError:
    return SourceError("PART_UNREADABLE")
