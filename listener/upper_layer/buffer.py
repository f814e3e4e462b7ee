"""The receive buffer of a connection: what came is read in place, and payloads are moved together."""

from __future__ import annotations

import mmap
import socket
from collections.abc import Callable

from listener.upper_layer.errors import ConnectionLostError
from listener.upper_layer.stream import Stream

CAPACITY_BYTES = 4 << 20  # address space; only pages that were touched are memory
FULL_BYTES = 3 << 20  # gathered: to be taken before more is received
ROOM_BYTES = 256 << 10  # that a call of recv finds at least; there is so much beside FULL_BYTES and an incomplete PDU


class ReceiveBuffer:
    """Bytes ``view[start:end]`` came and wait to be read; ``view[base:tail]`` was gathered from what came before.

    Gathering moves a payload down, over the headers that stood between it and the one before: a data set that came in many
    fragments lies in one piece, and nothing is allocated. ``base <= tail <= start <= end`` always holds.
    """

    __slots__ = ("_memory", "_receive", "_socket", "at_rest", "base", "end", "start", "tail", "view")

    def __init__(self, connection: socket.socket, stream: Stream) -> None:
        self._socket = connection
        self._receive = stream.recv_into
        self.at_rest: Callable[[], None] = lambda: None  # called at each second of silence (SO_RCVTIMEO)
        self._memory = mmap.mmap(-1, CAPACITY_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.view = memoryview(self._memory)
        self.base = self.tail = self.start = self.end = 0

    def receive(self) -> None:
        """Wait for bytes and take what is there.

        The delayed acknowledgement is switched off anew after each call, since the kernel falls back to it: a sender with
        Nagle's algorithm on waits for it between two small writes (40 ms an instance).

        Raises
        ------
        ConnectionLostError
            the peer closed the connection, or it broke
        """
        if self.start == self.end:
            self.start = self.end = self.tail
        if CAPACITY_BYTES - self.end < ROOM_BYTES:
            self._pack()
        while True:
            try:
                count = self._receive(self.view[self.end :])
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                break
            except BlockingIOError:  # SO_RCVTIMEO: quiet for a while
                self._give_back()
                self.at_rest()
            except OSError as error:
                raise ConnectionLostError("the connection broke") from error
        if not count:
            raise ConnectionLostError("the connection was closed")
        self.end += count

    def gather(self, start: int, end: int) -> None:
        """Add a payload, which lies at ``start`` or behind, to what was gathered."""
        if self.base == self.tail:
            self.base, self.tail = start, end
        else:
            tail = self.tail + end - start
            self.view[self.tail : tail] = self.view[start:end]  # as memmove: the two may overlap
            self.tail = tail

    @property
    def gathered(self) -> memoryview:
        """What was gathered; good until the next call of another method."""
        return self.view[self.base : self.tail]

    @property
    def is_full(self) -> bool:
        """Whether what was gathered must be taken before more is received."""
        return self.tail - self.base > FULL_BYTES

    def clear(self) -> None:
        """Forget what was gathered."""
        self.base = self.tail = 0

    def _pack(self) -> None:
        """Move everything to the front."""
        gathered, waiting = self.tail - self.base, self.end - self.start
        self.view[:gathered] = self.view[self.base : self.tail]
        self.view[gathered : gathered + waiting] = self.view[self.start : self.end]
        self.base, self.tail, self.start, self.end = 0, gathered, gathered, gathered + waiting

    def _give_back(self) -> None:
        """Return the pages to the system if nothing is kept in them."""
        if self.end == self.start and self.base == self.tail:
            self._memory.madvise(mmap.MADV_DONTNEED)
