"""The seam for DIMSE messages other than C-STORE: a table from Command Field (0000,0100) to a handler.

A handler is ``handler(message, channel)``. It runs in the association's thread when the message has arrived as a whole, and

* reads ``message.command`` (its UIDs and numbers by ``Tag``), ``message.context`` (abstract syntax, transfer syntax, roles)
  and ``message.data``, the data set's bytes in that transfer syntax, empty where there is none (``MAXIMUM_MESSAGE_BYTES``);
* answers a request with ``channel.respond(message, status)``; a response (for example N-EVENT-REPORT-RSP, 8100H) is not
  answered, its ``message.command.message_id`` says which of our requests it belongs to;
* calls ``channel.kept()`` if it put something into the spool, whose reader then hears of the association's end;
* may keep the channel, and from any thread ask something of the peer with ``channel.post``: the association's own thread sends
  it, soon. ``post`` returns the Message ID, or None when the association is over: then another way is needed.

Register it in ``connection.Node.handlers``; ``HANDLERS`` is what a plain receiver has. What is in no table is answered
0211H (unrecognized operation); a response that is in no table aborts the association. An exception of a handler does too.
A service whose abstract syntax is not in ``negotiation.SUPPORTED`` needs a line there, with the requestor's roles.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from egfr_dls.dimse_status import StoreStatus
from listener.admission import Accepted
from listener.upper_layer.command_set import NO_DATA_SET, Command, CommandSet, Tag, write_command, write_response
from listener.upper_layer.negotiation import Context
from listener.upper_layer.pdu import message as encode_message

MAXIMUM_MESSAGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """A DIMSE message that has arrived as a whole."""

    command: CommandSet
    context: Context
    data: bytes


class Channel:
    """What an association's handlers send on it, all of it in the association's thread: any other would wait for a slow peer.

    ``post``, ``quiet_seconds`` and ``is_open`` are for any thread.

    Parameters
    ----------
    send
        sends bytes as a whole
    maximum
        PDU length that the peer takes; 0: any
    """

    def __init__(
        self, accepted: Accepted, contexts: Mapping[int, Context], send: Callable[[bytes], None], maximum: int
    ) -> None:
        self.accepted = accepted
        self.contexts = contexts
        self.brought = False
        self._send = send
        self._maximum = maximum
        self._lock = threading.Lock()
        self._idle = True
        self._quiet_since = time.monotonic()
        self.is_open = True
        self._posted: deque[bytes] = deque()
        self._message_id = 0

    def kept(self) -> None:
        """Note that something of this association may be in the spool: then its end will be too."""
        self.brought = True

    def respond(self, message: Message, status: int, comment: str = "") -> None:
        """Answer a request without a data set."""
        self.answer(message.context.context_id, message.command, status, comment)

    def answer(self, context_id: int, command: CommandSet, status: int, comment: str = "") -> None:
        """Answer a request of which only the command set is known."""
        self._send(encode_message(context_id, write_response(command, status, comment), b"", self._maximum))

    def post(
        self, context: Context, field: Command, elements: Mapping[int, int | str], data: bytes = b""
    ) -> int | None:
        """Have a request of ours sent as soon as the association is idle: after a message, or a second of silence.

        Parameters
        ----------
        elements
            of the command set, beside Command Field, Message ID and Command Data Set Type

        Returns
        -------
        its Message ID, None if the association is over
        """
        with self._lock:
            if not self.is_open:
                return None
            self._message_id = self._message_id % 0xFFFF + 1
            command = write_command(
                {
                    **elements,
                    Tag.COMMAND_FIELD: field,
                    Tag.MESSAGE_ID: self._message_id,
                    Tag.DATA_SET_TYPE: 0x0001 if data else NO_DATA_SET,
                }
            )
            self._posted.append(encode_message(context.context_id, command, data, self._maximum))
            return self._message_id

    def busy(self) -> None:
        """Note that a message of the peer's is under way."""
        self._idle = False

    def rest(self) -> None:
        """Note that the association is idle, and send what was posted meanwhile."""
        self._quiet_since = time.monotonic()
        self._idle = True
        self.flush()

    def flush(self) -> None:
        """Send what was posted, unless a message of the peer's is under way."""
        while self._idle and self._posted:
            self._send(self._posted.popleft())

    def quiet_seconds(self) -> float:
        """Return for how long no message of the peer's has been under way."""
        return time.monotonic() - self._quiet_since if self._idle else 0.0

    def close(self) -> None:
        """Note that the association is over."""
        with self._lock:
            self.is_open = False


Handler: TypeAlias = Callable[[Message, Channel], None]


def echo(message: Message, channel: Channel) -> None:
    """Answer a C-ECHO-RQ (PS3.7 9.1.5)."""
    channel.respond(message, StoreStatus.SUCCESS)


def ignore(_message: Message, _channel: Channel) -> None:
    """Do nothing: a C-CANCEL-RQ has no response, and what it would cancel is over (PS3.7 9.3.2.3)."""


HANDLERS: Mapping[int, Handler] = MappingProxyType({Command.C_ECHO_RQ: echo, Command.C_CANCEL_RQ: ignore})
