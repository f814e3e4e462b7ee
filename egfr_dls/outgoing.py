"""What associations that we open ourselves need of pynetdicom."""

from __future__ import annotations

import socket
import time
from typing import Any

from pynetdicom.association import Association
from pynetdicom.events import Event

READER_ROUND_SECONDS = 0.001  # of pynetdicom's loop


def send_at_once(event: Event) -> None:
    """Let no PDU wait for the acknowledgement of the one before (RFC 1122 4.2.3.2 and 4.2.3.4); for ``EVT_CONN_OPEN``."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def let_reader_rest(assoc: Association) -> None:
    """Wait until pynetdicom's own reader of an association waits: before a request, or its last round swallows the answer.

    Each request waits for it too, but believes so a moment too early.
    """
    checkpoint: Any = assoc._reactor_checkpoint  # noqa: SLF001  # pynetdicom offers no other hold on its reader
    checkpoint.clear()  # as the request does, which sets it again
    while assoc.is_alive() and not checkpoint._cond._waiters:  # noqa: SLF001  # an Event says in no other way who waits
        time.sleep(READER_ROUND_SECONDS)
