"""An established association (PS3.8 Sta6): from P-DATA-TF PDUs to messages, each to its sink, until the release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from listener.status import Abort
from listener.storage.facts import StoreCommand
from listener.storage.reception import Incoming
from listener.upper_layer.buffer import ReceiveBuffer
from listener.upper_layer.command_set import MAXIMUM_COMMAND_BYTES, RESPONSE, Command, CommandSet, read_command
from listener.upper_layer.dispatch import Channel, Handler
from listener.upper_layer.errors import PeerAbortedError, ProtocolError
from listener.upper_layer.negotiation import Context
from listener.upper_layer.pdu import COMMAND, HEADER, LAST, MAXIMUM_PDU_BYTES, VALUE_HEADER, PduType
from listener.upper_layer.sinks import HandledSink, Sink, StoreSink, UnrecognisedSink
from listener.upper_layer.states import State, expected

_DATA = int(PduType.DATA)
_HEADER_BYTES = HEADER.size
_VALUE_HEADER_BYTES = VALUE_HEADER.size


class Watch(Protocol):
    """Whoever ends an association that is silent for too long."""

    def heard(self) -> None:
        """Note that the peer is alive; raises ProtocolError if the association is to end."""

    def working(self) -> None:
        """Note that it is we who take time now."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What a session does with what it gets."""

    begin: Callable[[StoreCommand], Incoming]
    handlers: Mapping[int, Handler]
    max_object_bytes: int


class Session:
    """Reads whole PDUs from the receive buffer; at most one message is under way (no asynchronous window is negotiated)."""

    def __init__(self, buffer: ReceiveBuffer, channel: Channel, duties: Duties, watch: Watch) -> None:
        self._buffer = buffer
        self._channel = channel
        buffer.at_rest = channel.flush
        self._duties = duties
        self._watch = watch
        self._context_id = 0  # of the message under way
        self._command = bytearray()  # its command fragments so far
        self._sink: Sink | None = None  # takes its data set; None: none is awaited
        self._size = 0  # of its data set so far, bytes

    def run(self) -> None:
        """Serve until the A-RELEASE-RQ, which is left to be answered.

        A PDU may take the idle time from its first byte to its last.

        Raises
        ------
        ProtocolError, PeerAbortedError, ConnectionLostError
            it ended otherwise
        """
        try:
            if self._read():  # what came together with the request
                return
            self._watch.heard()
            while not self._receive():
                pass
        finally:
            self._channel.close()
            if self._sink is not None:
                self._sink.discard()

    def _receive(self) -> bool:
        """Wait for bytes and read them; return whether the association is released."""
        buffer = self._buffer
        begins = buffer.start == buffer.end
        buffer.receive()
        at = buffer.start
        if self._read():
            return True
        if begins or buffer.start != at:
            self._watch.heard()
        if buffer.is_full and self._sink is not None:
            self._sink.write(buffer.gathered)
            buffer.clear()
        return False

    def _read(self) -> bool:
        """Read every whole PDU that is there; return whether the association is released."""
        buffer = self._buffer
        view, end = buffer.view, buffer.end
        while end - buffer.start >= _HEADER_BYTES:
            kind, length = HEADER.unpack_from(view, buffer.start)
            start = buffer.start + _HEADER_BYTES
            if kind != _DATA or not 0 < length <= MAXIMUM_PDU_BYTES:
                pdu_type = expected(State.ESTABLISHED, kind, length)
                if pdu_type is PduType.ABORT:
                    raise PeerAbortedError("the peer aborted the association")
            if start + length > end:
                break
            if kind != _DATA:
                return self._release()
            self._read_values(view, start, start + length)
            buffer.start = start + length
        return False

    def _release(self) -> bool:
        if self._sink is not None or self._command:
            raise ProtocolError(Abort.UNEXPECTED_PDU)  # half a message: not all that was meant to be sent has been
        return True

    def _read_values(self, view: memoryview, at: int, end: int) -> None:
        """Read the presentation data values of a P-DATA-TF (PS3.8 9.3.5.1)."""
        while at < end:
            start = at + _VALUE_HEADER_BYTES
            if start > end:
                raise ProtocolError(Abort.VALUE_LENGTH)
            length, context_id, control = VALUE_HEADER.unpack_from(view, at)
            at += 4 + length
            if length < 2 or at > end:
                raise ProtocolError(Abort.VALUE_LENGTH)
            if control & COMMAND:
                self._take_command(context_id, view[start:at], control & LAST)
            else:
                self._take_data(context_id, start, at, control & LAST)

    def _take_command(self, context_id: int, fragment: memoryview, last: int) -> None:
        if self._sink is not None or (self._command and context_id != self._context_id):
            raise ProtocolError(Abort.FRAGMENT_ORDER)
        if len(self._command) + len(fragment) > MAXIMUM_COMMAND_BYTES:
            raise ProtocolError(Abort.COMMAND_TOO_LARGE)
        self._context_id = context_id
        self._command += fragment
        self._channel.busy()
        if last:
            command, self._command = bytes(self._command), bytearray()
            self._begin(read_command(command))

    def _begin(self, command: CommandSet) -> None:
        context = self._channel.contexts.get(self._context_id)
        if context is None:
            raise ProtocolError(Abort.UNKNOWN_CONTEXT)
        self._size = 0
        self._sink = self._sink_of(context, command)
        if not command.has_data_set:
            self._finish()

    def _sink_of(self, context: Context, command: CommandSet) -> Sink:
        duties = self._duties
        if command.field == Command.C_STORE_RQ:
            return StoreSink(duties.begin, self._channel, context, command)
        handler = duties.handlers.get(command.field)
        if handler is not None:
            return HandledSink(handler, self._channel, context, command)
        if command.field & RESPONSE:
            raise ProtocolError(Abort.UNEXPECTED_RESPONSE)
        return UnrecognisedSink(self._channel, context, command)

    def _take_data(self, context_id: int, start: int, end: int, last: int) -> None:
        if self._sink is None or context_id != self._context_id:
            raise ProtocolError(Abort.FRAGMENT_ORDER)
        self._size += end - start
        if self._size > self._duties.max_object_bytes:
            raise ProtocolError(Abort.OBJECT_TOO_LARGE)
        self._buffer.gather(start, end)
        if last:
            self._finish()

    def _finish(self) -> None:
        assert self._sink is not None
        self._watch.working()
        self._sink.finish(self._buffer.gathered)
        self._sink = None
        self._buffer.clear()
        self._channel.rest()
