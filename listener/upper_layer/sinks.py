"""Where a message's data set goes while it arrives: an instance to ``Reception``, anything else to its handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from egfr_dls.dimse_status import StoreStatus
from listener.status import Abort
from listener.storage.facts import StoreCommand
from listener.storage.reception import Incoming
from listener.upper_layer.command_set import CommandSet, Tag
from listener.upper_layer.dispatch import MAXIMUM_MESSAGE_BYTES, Channel, Handler, Message
from listener.upper_layer.errors import ProtocolError
from listener.upper_layer.negotiation import Context


class Sink(Protocol):
    """Takes one message's data set, in parts as the receive buffer fills; the views are good during the call only."""

    def write(self, data: memoryview) -> None:
        """Take a part that is not the last."""

    def finish(self, data: memoryview) -> None:
        """Take the last part, empty if there is no data set, and answer."""

    def discard(self) -> None:
        """Give up: the association broke off in the middle."""


class StoreSink:
    """One C-STORE-RQ (PS3.7 9.3.1)."""

    __slots__ = ("_channel", "_command", "_context_id", "_incoming", "discard", "write")

    def __init__(
        self, begin: Callable[[StoreCommand], Incoming], channel: Channel, context: Context, command: CommandSet
    ) -> None:
        self._incoming = begin(
            StoreCommand(
                command.uid(Tag.AFFECTED_SOP_CLASS_UID),
                command.uid(Tag.AFFECTED_SOP_INSTANCE_UID),
                context.abstract_syntax,
                context.transfer_syntax,
            )
        )
        self._channel, self._context_id, self._command = channel, context.context_id, command
        self.write = self._incoming.write
        self.discard = self._incoming.discard

    def finish(self, data: memoryview) -> None:
        """Answer what the reception says."""
        answer = self._incoming.finish(data)
        if self._incoming.brought:
            self._channel.kept()
        self._channel.answer(self._context_id, self._command, answer.status, answer.comment)


class HandledSink:
    """A message that a handler of the dispatch table gets as a whole."""

    __slots__ = ("_channel", "_command", "_context", "_handler", "_parts", "_size")

    def __init__(self, handler: Handler, channel: Channel, context: Context, command: CommandSet) -> None:
        self._handler, self._channel, self._context, self._command = handler, channel, context, command
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: memoryview) -> None:
        """Keep a part.

        Raises
        ------
        ProtocolError
            ``MESSAGE_TOO_LARGE``
        """
        self._size += len(data)
        if self._size > MAXIMUM_MESSAGE_BYTES:
            raise ProtocolError(Abort.MESSAGE_TOO_LARGE)
        self._parts.append(bytes(data))

    def finish(self, data: memoryview) -> None:
        """Call the handler."""
        self.write(data)
        self._handler(Message(self._command, self._context, b"".join(self._parts)), self._channel)

    def discard(self) -> None:
        """Nothing is kept elsewhere."""


class UnrecognisedSink:
    """A request for which there is no handler: its data set is passed over, it is answered 0211H (PS3.7 C.5.23)."""

    def __init__(self, channel: Channel, context: Context, command: CommandSet) -> None:
        self._channel, self._context, self._command = channel, context, command

    def write(self, data: memoryview) -> None:
        """Pass over."""

    def finish(self, _data: memoryview) -> None:
        """Answer."""
        self._channel.answer(self._context.context_id, self._command, StoreStatus.UNRECOGNISED_OPERATION)

    def discard(self) -> None:
        """Nothing is kept."""
