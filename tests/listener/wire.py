"""A caller that speaks the upper layer in bytes, so that it can say anything; and a receiver for it without a ledger."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from egfr_dls.settings_sections import Listener
from listener.admission import Accepted, Admission
from listener.status import SUCCESS, Answer
from listener.storage.facts import StoreCommand
from listener.upper_layer.command_set import NO_DATA_SET, Command, Tag, write_command
from listener.upper_layer.connection import Node
from listener.upper_layer.pdu import message
from listener.upper_layer.server import Server, bind

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
RELEASE_RQ = bytes.fromhex("05 00 00000004 00000000")
LIMIT_SECONDS = 20.0


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def context(number: int, abstract: str = CT, *syntaxes: str) -> bytes:
    transfer = b"".join(item(0x40, uid.encode()) for uid in syntaxes or (EXPLICIT,))
    return item(0x20, bytes([number, 0, 0, 0]) + item(0x30, abstract.encode()) + transfer)


CONTEXTS = context(1) + context(3, VERIFICATION, IMPLICIT)


def request(
    contexts: bytes = CONTEXTS,
    *,
    calling: str = "SCANNER",
    called: str = "EGFR_DLS",
    version: int = 1,
    application: str = APPLICATION_CONTEXT,
    user: bytes = b"",
) -> bytes:
    """Return an A-ASSOCIATE-RQ."""
    body = struct.pack(">Hxx16s16s32x", version, called.ljust(16).encode(), calling.ljust(16).encode())
    body += item(0x10, application.encode()) + contexts
    body += item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3") + user)
    return pdu(1, body)


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def values(*fragments: tuple[int, int, bytes]) -> bytes:
    """Return a P-DATA-TF of (context ID, message control header, fragment)."""
    return pdu(4, b"".join(struct.pack(">IBB", len(data) + 2, cx, control) + data for cx, control, data in fragments))


def store_command(message_id: int = 1, instance: str = "1.2.3", data_set_type: int = 1, **more: Any) -> bytes:
    return write_command(
        {
            Tag.AFFECTED_SOP_CLASS_UID: CT,
            Tag.COMMAND_FIELD: Command.C_STORE_RQ,
            Tag.MESSAGE_ID: message_id,
            0x0700: 2,
            Tag.DATA_SET_TYPE: data_set_type,
            Tag.AFFECTED_SOP_INSTANCE_UID: instance,
            **more,
        }
    )


def store(data: bytes, message_id: int = 1, maximum: int = 131072) -> bytes:
    """Return a whole C-STORE-RQ on context 1."""
    return message(1, store_command(message_id), data, maximum)


def echo(message_id: int = 7) -> bytes:
    return message(3, write_command(echo_elements(message_id)), b"", 0)


def echo_elements(message_id: int = 7) -> dict[int, int | str]:
    return {
        Tag.AFFECTED_SOP_CLASS_UID: VERIFICATION,
        Tag.COMMAND_FIELD: Command.C_ECHO_RQ,
        Tag.MESSAGE_ID: message_id,
        Tag.DATA_SET_TYPE: NO_DATA_SET,
    }


class Peer:
    """The other end, in bytes."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *encoded: bytes) -> None:
        self.socket.sendall(b"".join(encoded))

    def answer(self) -> tuple[int, bytes]:
        """Return the next PDU's type and body; type 0 is the end of the connection."""
        head = self._exactly(6)
        return (head[0], self._exactly(int.from_bytes(head[2:], "big"))) if head else (0, b"")

    def status(self) -> int:
        """Return the status of the next response."""
        kind, body = self.answer()
        assert kind == 4, f"PDU {kind:02X} {body.hex()}"
        at = body.index(bytes.fromhex("0000 0009 02000000"))
        return int.from_bytes(body[at + 8 : at + 10], "little")

    def associate(self, *how: Any, **more: Any) -> Peer:
        self.send(request(*how, **more))
        kind, _ = self.answer()
        assert kind == 2
        return self

    def release(self) -> None:
        self.send(RELEASE_RQ)
        assert self.answer() == (6, bytes(4))

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            part = self.socket.recv(count - len(got))
            if not part:
                return b""
            got += part
        return got


@dataclass
class Kept:
    """A reception that keeps in memory what it is given, and what it is told."""

    command: list[StoreCommand] = field(default_factory=list)
    objects: list[bytes] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    answer: Answer = SUCCESS
    before: Callable[[], None] = lambda: None

    def begin(self, accepted: Accepted, command: StoreCommand) -> KeptObject:
        self.command.append(command)
        return KeptObject(self)

    def released(self, association_id: str) -> None:
        self.told.append("released")

    def lost(self, association_id: str) -> None:
        self.told.append("lost")


class KeptObject:
    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._data = bytearray()

    def write(self, data: memoryview) -> None:
        self._kept.writes.append(len(data))
        self._data += data

    def finish(self, data: memoryview) -> Answer:
        self._kept.before()
        self._data += data
        self._kept.objects.append(bytes(self._data))
        return self._kept.answer

    @property
    def brought(self) -> bool:
        return self._kept.answer is SUCCESS

    def discard(self) -> None:
        self._kept.told.append("discarded")


class Relay:
    """A reception for many tests: what an association brings goes to the ``Kept`` that was the current one when it began."""

    def __init__(self) -> None:
        self.current = Kept()
        self._of: dict[str, Kept] = {}

    def begin(self, accepted: Accepted, command: StoreCommand) -> KeptObject:
        return self._of.setdefault(accepted.association_id, self.current).begin(accepted, command)

    def released(self, association_id: str) -> None:
        self._of.pop(association_id).released(association_id)

    def lost(self, association_id: str) -> None:
        self._of.pop(association_id).lost(association_id)


@contextmanager
def receiving(kept: Kept | Any, settings: Listener | None = None, **node: Any) -> Iterator[Server]:
    """Run a receiver; at the end all its threads are gone."""
    settings = settings or listener_settings()
    admission = Admission(settings, lambda: 1 << 40, 0)
    server = Server(bind(settings), Node(settings, admission, kept, **node))
    server.start()
    try:
        yield server
    finally:
        server.drain(0)


def listener_settings(**values: Any) -> Listener:
    return Listener(**{"port": 0, "accept_any_peer": True, "max_associations_per_peer": 64, **values})
