"""Reads what ``shim.c`` noted: changes of files and names, syncs, and what was sent, in their order."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_NOTE = struct.Struct("<IIIIQqQ")  # kind, bytes of two paths, number, inode, offset, length
# C-STORE-RSP (PS3.7 9.3.1.2): Command Field (0000,0100) 8001H, Status (0000,0900) 0000H, Affected SOP Instance UID (0000,1000)
_SUCCESS = re.compile(
    rb"\0\0\0\x01\x02\0\0\0\x01\x80.*\0\0\0\x09\x02\0\0\0\0\0.*\0\0\0\x10.\0\0\0(?P<uid>[0-9.]+)", re.DOTALL
)


class Kind(IntEnum):
    """The kinds of notes, as in ``shim.c``."""

    MAKE = 1
    WRITE = 2
    CUT = 3
    RENAME = 4
    REMOVE = 5
    MAKE_FOLDER = 6
    MODE = 7
    SYNC_BEGINS = 8
    SYNCED = 9
    SENT = 10
    LINK = 11


@dataclass(frozen=True, slots=True)
class Note:
    """One step.

    ``offset`` is where was written, the length of a cut file, the mode, or for a sync whether it is fsync; ``number`` joins the
    two notes of a sync.
    """

    kind: Kind
    number: int
    inode: int
    offset: int
    path: str
    to: str
    data: bytes

    def acknowledges(self) -> str | None:
        """Return the SOP Instance UID of a C-STORE response with success."""
        if self.kind is Kind.SENT and (found := _SUCCESS.search(self.data)):
            return found["uid"].decode()
        return None


def build_shim(folder: Path) -> Path:
    """Compile the library; return its path."""
    made = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return made


def read_notes(log: Path) -> Iterator[Note]:
    """Yield the notes; one that a kill cut short ends them."""
    with log.open("rb") as file:
        while len(head := file.read(_NOTE.size)) == _NOTE.size:
            kind, path_bytes, to_bytes, number, inode, offset, length = _NOTE.unpack(head)
            path, to = file.read(path_bytes).decode(), file.read(to_bytes).decode()
            data = file.read(length) if kind in (Kind.WRITE, Kind.SENT) else b""
            yield Note(Kind(kind), number, inode, offset, path, to, data)
