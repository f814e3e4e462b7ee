"""What stands in for the network and the disk: a stream that comes in pieces, and a spool in memory."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from egfr_dls.spool import Entry, record
from egfr_dls.spool.contract import Bytes
from egfr_dls.study import SpoolRef

PIECES = (1, 2, 5, 6, 11, 64, 500, 4096)  # bytes that a call of recv gets


@dataclass
class MemorySpool:
    """A spool that keeps copies of what can be recorded, and is its own record writer."""

    kept: list[tuple[Entry, bytes]] = field(default_factory=list)
    open: bytes | None = None  # the payload of a record that arrives in parts

    def append(self, entry: Entry, parts: Sequence[Bytes] = (), *, sync: bool = True) -> SpoolRef:
        assert record.decode(record.header_in(record.head(entry, 0, 0, 0))) == entry
        self.kept.append((entry, b"".join(parts)))
        return SpoolRef("", 0, 0)

    def begin(self) -> MemorySpool:
        assert self.open is None, "two records at once on one association"
        self.open = b""
        return self

    def write(self, parts: Sequence[Bytes]) -> None:
        assert self.open is not None
        self.open += b"".join(parts)

    def commit(self, entry: Entry) -> SpoolRef:
        assert self.open is not None
        payload, self.open = self.open, None
        return self.append(entry, [payload])

    def discard(self) -> None:
        self.open = None

    def free_bytes(self) -> int:
        return 1 << 40


class ScriptedSocket(socket.socket):
    """A connection from which a stream comes in pieces, with silences between them; what is sent on it is kept."""

    def __init__(self, stream: bytes, cut: int) -> None:
        super().__init__(socket.AF_UNIX)
        self.sent = b""
        self._stream = memoryview(stream)
        self._chosen = random.Random(cut)
        self._size = self._chosen.choice(PIECES)

    def recv(self, size: int, flags: int = 0) -> bytes:
        piece = bytes(self._stream[:size])
        if not flags & socket.MSG_PEEK:
            self._stream = self._stream[size:]
        return piece

    def recv_into(self, into: Any, *_: Any) -> int:
        assert len(into) > 0, "no room to receive"
        if self._chosen.randrange(20) == 0:
            raise BlockingIOError
        if self._chosen.randrange(8) == 0:
            self._size = self._chosen.choice(PIECES)
        piece = self.recv(min(self._size, len(into)))
        into[: len(piece)] = piece
        return len(piece)

    def sendall(self, data: Any, *_: Any) -> None:
        self.sent += data

    def setsockopt(self, *_: Any) -> None:
        """Take any option."""
