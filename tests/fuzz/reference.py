"""What an acceptor has to answer to a stream of bytes: the rules of PS3.8 9.2 and PS3.7 once more, without buffer or spool.

It reads a copy of everything that a caller says on an established association, in the plainest way, and is what the
upper layer is compared with.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

COMMAND, LAST = 1, 2  # message control header (PS3.8 E.2)
CANCEL, STORE, EVENT_REPORT_RESPONSE = 0x0FFF, 0x0001, 0x8100  # Command Field (PS3.7 E.1)
RELEASED, LOST, PEER_ABORTED = "released", "lost", "peer aborted"


@dataclass(frozen=True)
class Limits:
    """Longest P-DATA-TF, command set and data set, bytes."""

    pdu: int
    command: int
    data_set: int


@dataclass
class Message:
    """A whole DIMSE message; ``elements`` are the values of its command set by element number."""

    context_id: int
    elements: dict[int, bytes]
    data: bytes = b""

    @property
    def command_field(self) -> int:
        """Command Field (0000,0100)."""
        return int.from_bytes(self.elements[0x0100], "little")

    @property
    def has_data_set(self) -> bool:
        """Whether Command Data Set Type (0000,0800) is not the one of none."""
        return self.elements[0x0800] != b"\x01\x01"

    @property
    def message_id(self) -> int:
        """Message ID (0000,0110) of a request."""
        return int.from_bytes(self.elements[0x0110], "little")

    def uid(self, element: int) -> str:
        """Return a UID of the command set without padding."""
        return self.elements.get(element, b"").decode("latin-1").rstrip("\0 ")


@dataclass
class Heard:
    """The whole messages of a stream, and how it ends: one of the words above, or source and reason of the A-ABORT due."""

    messages: list[Message] = field(default_factory=list)
    end: str | tuple[int, int] = LOST

    @property
    def answered(self) -> list[Message]:
        """The requests among the messages: all but C-CANCEL (PS3.7 9.3.2.3)."""
        return [m for m in self.messages if m.command_field != CANCEL and not m.command_field & 0x8000]


class _Violation(Exception):  # noqa: N818  # never leaves this module
    """Source and reason of the A-ABORT that it deserves (PS3.8 table 9-26)."""


def listen(stream: bytes, contexts: Collection[int], limits: Limits) -> Heard:
    """Read all that follows the A-ASSOCIATE-AC."""
    reader = _Reader(contexts, limits)
    try:
        reader.heard.end = reader.read(stream)
    except _Violation as violation:
        reader.heard.end = violation.args
    return reader.heard


def commands(sent: bytes) -> tuple[list[Message], bytes]:
    """Return the messages in what the acceptor sent, none of which has a data set, and the PDU behind them, if any.

    It fails where what was sent is not in order.
    """
    found, command = [], b""
    for kind, body in pdus(sent):
        if kind != 4:
            assert not command, "a message was cut"
            return found, bytes([kind]) + body
        for context_id, control, fragment in _values(body):
            assert control & COMMAND
            command += fragment
            if control & LAST:
                found.append(Message(context_id, _elements(command)))
                command = b""
    assert not command, "a message was cut"
    return found, b""


def pdus(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each PDU; it fails where one is cut."""
    at = 0
    while at < len(stream):
        kind, length = struct.unpack_from(">BxI", stream, at)
        at += 6 + length
        assert at <= len(stream), "a PDU was cut"
        yield kind, stream[at - length : at]


class _Reader:
    def __init__(self, contexts: Collection[int], limits: Limits) -> None:
        self.heard = Heard()
        self._contexts = contexts
        self._limits = limits
        self._context_id = 0
        self._command = b""  # fragments of a command set
        self._open: Message | None = None  # its data set is awaited

    def read(self, stream: bytes) -> str:
        while len(stream) >= 6:
            kind, length = struct.unpack_from(">BxI", stream)
            self._check(kind, length)
            if kind == 7:
                return PEER_ABORTED
            if len(stream) < 6 + length:
                return LOST
            body, stream = stream[6 : 6 + length], stream[6 + length :]
            if kind == 5:
                if self._command or self._open:
                    raise _Violation(2, 2)
                return RELEASED
            for value in _values(body):
                self._take(*value)
        return LOST

    def _check(self, kind: int, length: int) -> None:
        if kind not in range(1, 8):
            raise _Violation(2, 1)
        if kind not in (4, 5, 7):
            raise _Violation(2, 2)
        if (kind == 4 and not 1 <= length <= self._limits.pdu) or (kind == 5 and length != 4):
            raise _Violation(2, 6)

    def _take(self, context_id: int, control: int, fragment: bytes) -> None:
        if control & COMMAND:
            if self._open or (self._command and self._context_id != context_id):  # before its first byte none has begun
                raise _Violation(2, 5)
            self._context_id = context_id
            self._command += fragment
            if len(self._command) > self._limits.command:
                raise _Violation(0, 0)
            if control & LAST:
                self._begin()
        else:
            if not self._open or self._open.context_id != context_id:
                raise _Violation(2, 5)
            self._open.data += fragment
            if len(self._open.data) > self._limits.data_set:
                raise _Violation(0, 0)
            if control & LAST:
                self._end(self._open)

    def _begin(self) -> None:
        message = Message(self._context_id, _elements(self._command))
        self._command = b""
        for needed in (0x0100, 0x0800):
            if len(message.elements.get(needed, b"")) != 2:
                raise _Violation(0, 0)
        answers = message.command_field & 0x8000 or message.command_field == CANCEL
        if len(message.elements.get(0x0120 if answers else 0x0110, b"")) != 2:
            raise _Violation(0, 0)
        if message.context_id not in self._contexts:
            raise _Violation(2, 6)
        if message.command_field & 0x8000 and message.command_field != EVENT_REPORT_RESPONSE:
            raise _Violation(0, 0)
        self._open = message
        if not message.has_data_set:
            self._end(message)

    def _end(self, message: Message) -> None:
        self.heard.messages.append(message)
        self._open = None


def _values(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield context ID, message control header and fragment of each presentation data value."""
    while body:
        if len(body) < 6:
            raise _Violation(2, 6)
        length, context_id, control = struct.unpack_from(">IBB", body)
        if length < 2 or 4 + length > len(body):
            raise _Violation(2, 6)
        yield context_id, control, body[6 : 4 + length]
        body = body[4 + length :]


def _elements(command: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while command:
        if len(command) < 8:
            raise _Violation(0, 0)
        group, element, length = struct.unpack_from("<HHI", command)
        if group or element in found or 8 + length > len(command):
            raise _Violation(0, 0)
        found[element], command = command[8 : 8 + length], command[8 + length :]
    return found
