"""How long a connection may last, and how another thread ends it."""

from __future__ import annotations

import math
import socket
import time
from contextlib import suppress

from listener.status import Abort
from listener.upper_layer.errors import ProtocolError
from listener.upper_layer.states import State

HANDSHAKE_SECONDS = 30.0  # ARTIM (PS3.8 9.1.5): from accept to the end of the A-ASSOCIATE-RQ, TLS included
CLOSING_SECONDS = 5.0  # ARTIM again: until the peer has closed after our last PDU
ASKED_SECONDS = 0.2  # for a session to see by itself that it is to end


class Lifetime:
    """The state of a connection and its deadline, monotonic seconds.

    Its own thread waits in blocking calls. Another one looks at the deadline, and calls ``expire`` when it is over.
    """

    def __init__(self, connection: socket.socket, idle_seconds: float) -> None:
        self._socket = connection
        self._idle_seconds = idle_seconds
        self._woken = False
        self.state = State.AWAITING_REQUEST
        self.since = time.monotonic()
        self.deadline = self.since + min(HANDSHAKE_SECONDS, idle_seconds)
        self.asked: Abort | None = None  # to end, by another thread
        self.hung_up = ""  # why, by another thread

    # --- the connection's own thread ---

    def wait(self) -> None:
        """Give the peer the idle time from now on."""
        self.deadline = time.monotonic() + self._idle_seconds

    def heard(self) -> None:
        """Give the peer the idle time anew (see ``session.Watch``)."""
        self.wait()
        if self.asked is not None:  # looked at after the deadline is set: who asks sets them the other way round
            raise ProtocolError(self.asked)

    def working(self) -> None:
        """Stop the time: the disk may take its own."""
        self.deadline = math.inf

    def closing(self) -> None:
        """Give the peer the time to close."""
        self.state = State.CLOSING
        self.deadline = time.monotonic() + CLOSING_SECONDS

    # --- another thread ---

    def expire(self, reason: Abort) -> None:
        """End the connection: a session gets the time to say A-ABORT, anything else is hung up.

        First it is asked, which one that receives sees; then it is woken, if it waits; then hung up, if it hangs in a send.
        """
        if self.state is not State.ESTABLISHED:
            self.hang_up("request_timeout")
        elif self.asked is None:
            self.asked = reason
            self.deadline = time.monotonic() + ASKED_SECONDS
        elif self._woken:
            self.hang_up(self.asked.reason)
        else:
            self._woken = True
            self.deadline = time.monotonic() + CLOSING_SECONDS
            self.shut(socket.SHUT_RD)

    def hang_up(self, reason: str) -> None:
        """Break the connection; its own thread then ends."""
        self.hung_up = self.hung_up or reason
        self.deadline = math.inf
        self.shut(socket.SHUT_RDWR)

    def shut(self, how: int) -> None:
        """Shut the socket down, in one direction or both."""
        with suppress(OSError):  # closed already
            self._socket.shutdown(how)
