"""Messages other than C-STORE: handlers, and requests of ours on an association that the peer opened."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from listener.upper_layer.command_set import Command, Tag, write_command
from listener.upper_layer.dispatch import HANDLERS, Channel, Message
from listener.upper_layer.negotiation import SUPPORTED, Supported
from listener.upper_layer.pdu import message
from listener.upper_layer.proposal import Roles
from tests.listener.nodes import until
from tests.listener.wire import CONTEXTS, EXPLICIT, Kept, Peer, context, item, receiving, request, store_command, values

PUSH = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
OURS = {**SUPPORTED, PUSH: Supported(frozenset({EXPLICIT}), Roles(scu=True, scp=False))}
ACTION = {
    Tag.COMMAND_FIELD: Command.N_ACTION_RQ,
    Tag.MESSAGE_ID: 3,
    Tag.DATA_SET_TYPE: 1,
    Tag.REQUESTED_SOP_CLASS_UID: PUSH,
    Tag.REQUESTED_SOP_INSTANCE_UID: INSTANCE,
    Tag.ACTION_TYPE_ID: 1,
}
REPORT = {Tag.AFFECTED_SOP_CLASS_UID: PUSH, Tag.AFFECTED_SOP_INSTANCE_UID: INSTANCE, Tag.EVENT_TYPE_ID: 1}


class Service:
    """Handlers that keep what they get."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.channels: list[Channel] = []
        self.handlers = {**HANDLERS, Command.N_ACTION_RQ: self.asked, Command.N_EVENT_REPORT_RSP: self.answered}

    def asked(self, got: Message, channel: Channel) -> None:
        self.messages.append(got)
        channel.kept()
        channel.respond(got, 0)
        self.channels.append(channel)

    def answered(self, got: Message, _channel: Channel) -> None:
        self.messages.append(got)


@pytest.fixture
def service() -> Service:
    return Service()


def associated(peer: Peer) -> Peer:
    return peer.associate(CONTEXTS + context(5, PUSH))


def report_on(service: Service, **more: Any) -> int | None:
    channel, got = service.channels[0], service.messages[0]
    return channel.post(got.context, Command.N_EVENT_REPORT_RQ, REPORT, **more)


def test_a_handler_gets_the_whole_message_and_what_it_keeps_is_ended(service: Service) -> None:
    kept = Kept()
    with receiving(kept, handlers=service.handlers, supported=OURS) as server, Peer(server.ports[0]) as peer:
        associated(peer)
        peer.send(message(5, write_command(ACTION), b"x" * 5_000_000, 16384))
        assert peer.status() == 0
        (got,) = service.messages
        assert (got.data, got.context.abstract_syntax, got.context.transfer_syntax) == (
            b"x" * 5_000_000,
            PUSH,
            EXPLICIT,
        )
        assert got.command.number(Tag.ACTION_TYPE_ID) == 1
        peer.release()
        assert kept.told == ["released"]
        assert not service.channels[0].is_open
        assert report_on(service) is None


def test_a_report_goes_out_on_the_idle_association_and_its_answer_comes_back(service: Service) -> None:
    with receiving(Kept(), handlers=service.handlers, supported=OURS) as server, Peer(server.ports[0]) as peer:
        associated(peer)
        peer.send(message(5, write_command(ACTION), b"x", 0))
        assert peer.status() == 0
        until(lambda: service.channels, "asked")
        number = report_on(service, data=b"report")
        assert number == 1
        command, data = peer.answer()[1], peer.answer()[1]
        assert bytes.fromhex("0000 0001 02000000 0001 0000 1001 02000000 0100") in command
        assert data[4:] == b"\5\2report"
        answer = {
            Tag.COMMAND_FIELD: 0x8100,
            Tag.MESSAGE_ID_BEING_RESPONDED_TO: number,
            Tag.DATA_SET_TYPE: 0x101,
            Tag.STATUS: 0,
        }
        peer.send(message(5, write_command(answer), b"", 0))
        until(lambda: len(service.messages) == 2, "answered")
        assert service.messages[1].command.message_id == number
        assert service.messages[1].command.number(Tag.STATUS) == 0
        peer.release()


def test_a_report_waits_while_a_message_of_the_peers_is_under_way(service: Service) -> None:
    kept = Kept()
    began = threading.Event()
    begin = kept.begin
    kept.begin = lambda *how: (began.set(), begin(*how))[1]  # type: ignore[method-assign]
    with receiving(kept, handlers=service.handlers, supported=OURS) as server, Peer(server.ports[0]) as peer:
        associated(peer)
        peer.send(message(5, write_command(ACTION), b"x", 0))
        assert peer.status() == 0
        until(lambda: service.channels, "asked")
        peer.send(values((1, 3, store_command()), (1, 0, b"half")))
        assert began.wait(20)
        assert service.channels[0].quiet_seconds() == 0
        assert report_on(service) == 1
        peer.send(values((1, 2, b" and half")))
        assert peer.status() == 0, "the answer comes first"
        assert b"\0\0\0\1\2\0\0\0\0\1" in peer.answer()[1], "then the report (N-EVENT-REPORT-RQ, 0100H)"
        assert kept.objects == [b"half and half"]
        assert service.channels[0].quiet_seconds() > 0
        peer.release()


def test_what_cannot_be_sent_any_more_is_told(service: Service) -> None:
    with receiving(Kept(), handlers=service.handlers, supported=OURS) as server:
        with Peer(server.ports[0]) as peer:
            associated(peer)
            peer.send(message(5, write_command(ACTION), b"x", 0))
            assert peer.status() == 0
            until(lambda: service.channels, "asked")
        until(lambda: report_on(service) is None, "told")


def test_who_posts_never_waits_for_a_slow_peer() -> None:
    """One thread posts for all associations; a peer that reads nothing would hold up the reports of all others."""
    sent: list[bytes] = []
    channel = Channel(None, {}, sent.append, 0)  # type: ignore[arg-type]
    where: Any = type("C", (), {"context_id": 1})
    channel.post(where, Command.N_EVENT_REPORT_RQ, REPORT)
    assert not sent, "its own thread sends"
    channel.busy()
    channel.flush()
    assert not sent, "a message of the peer's is under way"
    channel.rest()
    assert len(sent) == 1


def test_message_ids_go_round_and_are_never_0(service: Service) -> None:
    sent: list[bytes] = []
    channel = Channel(None, {}, sent.append, 0)  # type: ignore[arg-type]
    where: Any = type("C", (), {"context_id": 1})
    numbers = [channel.post(where, Command.N_EVENT_REPORT_RQ, REPORT) for _ in range(65537)]
    assert numbers == [*range(1, 65536), 1, 2]


def test_roles_are_answered_where_a_service_lets_them_be_chosen(service: Service) -> None:
    """SCP/SCU role selection (PS3.7 D.3.3.4): only the SCU role may be had here, and a storage class says nothing."""
    role = item(0x54, len(PUSH).to_bytes(2, "big") + PUSH.encode() + b"\1\1")
    with receiving(Kept(), handlers=service.handlers, supported=OURS) as server, Peer(server.ports[0]) as peer:
        peer.send(request(CONTEXTS + context(5, PUSH), user=role))
        kind, body = peer.answer()
        assert kind == 2
        assert item(0x54, len(PUSH).to_bytes(2, "big") + PUSH.encode() + b"\1\0") in body
