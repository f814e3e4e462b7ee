"""An established association against a caller that says anything, in bytes."""

from __future__ import annotations

import contextlib
import random
import struct
import time
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from listener.status import FAULTS, Abort, Fault
from listener.upper_layer import states
from listener.upper_layer.command_set import Command, Tag, write_command
from listener.upper_layer.flood import Sparingly
from listener.upper_layer.pdu import MAXIMUM_PDU_BYTES, message
from listener.upper_layer.server import Server
from tests.listener.nodes import until
from tests.listener.wire import (
    CONTEXTS,
    RELEASE_RQ,
    Kept,
    Peer,
    Relay,
    echo,
    item,
    listener_settings,
    pdu,
    receiving,
    request,
    store,
    store_command,
    values,
)

CMD, DATA, LAST = 1, 0, 2
STORE = store_command()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[Server, Relay]]:
    relay = Relay()
    with receiving(relay, listener_settings(max_object_bytes=20_000_000), said=Sparingly(0)) as started:
        yield started, relay


@pytest.fixture
def server(receiver: tuple[Server, Relay], kept: Kept) -> Server:
    started, relay = receiver
    relay.current = kept
    return started


@pytest.fixture
def peer(server: Server) -> Iterator[Peer]:
    with Peer(server.ports[0]) as connected:
        yield connected.associate()


# --- what is taken ---


def test_c_echo_is_answered_with_its_message_id_and_class(peer: Peer) -> None:
    peer.send(echo(513))
    kind, body = peer.answer()
    assert kind == 4
    assert body[4:6] == bytes([3, CMD | LAST])
    assert body[6:].endswith(
        bytes.fromhex(
            "0000 0001 02000000 3080  0000 2001 02000000 0102  0000 0008 02000000 0101  0000 0009 02000000 0000"
        )
    )
    assert b"1.2.840.10008.1.1\0" in body
    assert struct.unpack_from("<HHII", body, 6) == (0, 0, 4, len(body) - 6 - 12)
    peer.release()


@pytest.mark.parametrize("size", [1, 2, 131060, 131066, 131067, 131068, 3_145_728, 4_194_304, 13_000_001])
@pytest.mark.parametrize("maximum", [131072, 16384, 4097])
def test_objects_of_any_size_in_pdus_of_any_size(peer: Peer, kept: Kept, size: int, maximum: int) -> None:
    data = random.Random(size).randbytes(size)
    peer.send(store(data, maximum=maximum))
    assert peer.status() == 0
    assert kept.objects == [data]
    assert max(kept.writes, default=0) <= 4 << 20


def test_an_object_that_fits_the_buffer_comes_in_one_call(peer: Peer, kept: Kept) -> None:
    peer.send(store(bytes(3_000_000)))
    assert peer.status() == 0
    assert kept.writes == []


def test_command_and_data_set_may_share_a_pdu_and_be_in_pieces(peer: Peer, kept: Kept) -> None:
    peer.send(
        values((1, CMD, STORE[:10]), (1, CMD, STORE[10:]), (1, CMD | LAST, b""), (1, DATA, b""), (1, DATA, b"ab")),
        values((1, DATA, b"c"), (1, DATA | LAST, b"")),
    )
    assert peer.status() == 0
    assert kept.objects == [b"abc"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_way_of_cutting_changes_what_arrives(peer: Peer, kept: Kept, data: st.DataObject) -> None:
    """Values, PDUs and writes to the socket are cut anywhere; several messages are sent without waiting."""
    kept.objects.clear()
    chosen = random.Random(data.draw(st.integers(0, 1 << 32)))
    objects = [chosen.randbytes(chosen.choice([0, 1, 100, 5000, 200_000])) for _ in range(chosen.randint(1, 4))]
    wire = b"".join(cut(chosen, number, content) for number, content in enumerate(objects))
    while wire:
        size = chosen.choice([1, 5, 11, 1000, 100_000])
        peer.send(wire[:size])
        wire = wire[size:]
    assert [peer.status() for _ in objects] == [0] * len(objects)
    assert kept.objects == objects


def cut(chosen: random.Random, number: int, content: bytes) -> bytes:
    """Return a C-STORE-RQ whose fragments lie in PDUs as it happens."""
    fragments = [*pieces(chosen, CMD, store_command(number)), *pieces(chosen, DATA, content)]
    wire = b""
    while fragments:
        count = chosen.randint(1, 3)
        wire += values(*fragments[:count])
        fragments = fragments[count:]
    return wire


def pieces(chosen: random.Random, kind: int, content: bytes) -> list[tuple[int, int, bytes]]:
    size = chosen.choice([7, 64, 1000, 40_000]) if len(content) < 1000 else chosen.choice([5000, 40_000])
    parts = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
    return [(1, kind | (LAST if part is parts[-1] else 0), part) for part in parts]


def test_messages_that_do_not_wait_for_answers_are_answered_in_their_order(peer: Peer, kept: Kept) -> None:
    objects = [random.Random(n).randbytes(700_000) for n in range(20)]
    peer.send(*(store(data) for data in objects), echo())
    assert [peer.status() for _ in range(21)] == [0] * 21
    assert kept.objects == objects


def test_a_fault_is_told_with_its_comment_and_the_association_goes_on(peer: Peer, kept: Kept) -> None:
    kept.answer = FAULTS[Fault.DISK_FULL]
    peer.send(store(b"ab"))
    _, body = peer.answer()
    assert bytes.fromhex("0000 0009 02000000 00a7") in body
    assert b"Not stored: the disk is full or failing " in body
    peer.release()
    assert kept.told == [], "nothing was kept, so no end needs to be known"


def test_c_store_without_a_data_set_is_asked_about_and_answered(peer: Peer, kept: Kept) -> None:
    peer.send(message(1, store_command(data_set_type=0x0101), b"", 0), echo())
    assert [peer.status(), peer.status()] == [0, 0]
    assert kept.objects == [b""]


def test_a_uid_of_ten_kilobytes_is_passed_on_and_not_repeated(peer: Peer, kept: Kept) -> None:
    peer.send(message(1, store_command(instance="1." + "2" * 10_000), b"ab", 0))
    assert len(peer.answer()[1]) < 200
    assert len(kept.command[0].sop_instance_uid) == 10_002


def test_a_request_that_is_not_known_is_answered_0211(peer: Peer) -> None:
    """Also one with a data set, which is passed over."""
    find = {Tag.COMMAND_FIELD: 0x0020, Tag.MESSAGE_ID: 5, Tag.AFFECTED_SOP_CLASS_UID: "1.2.3"}
    peer.send(message(1, write_command({**find, Tag.DATA_SET_TYPE: 1}), bytes(9_000_000), 16384))
    kind, body = peer.answer()
    assert kind == 4
    assert bytes.fromhex("0000 0001 02000000 2080 0000 2001 02000000 0500") in body
    assert bytes.fromhex("0000 0009 02000000 1102") in body
    peer.release()


def test_a_cancel_is_passed_over(peer: Peer) -> None:
    cancel = {Tag.COMMAND_FIELD: Command.C_CANCEL_RQ, Tag.MESSAGE_ID_BEING_RESPONDED_TO: 5, Tag.DATA_SET_TYPE: 0x0101}
    peer.send(message(1, write_command(cancel), b"", 0), echo(9))
    assert peer.status() == 0


def test_answers_fit_into_what_the_caller_takes(server: Server) -> None:
    """Max length received 64 (PS3.8 D.1): no P-DATA-TF is longer."""
    with Peer(server.ports[0]) as peer:
        peer.send(request().replace(struct.pack(">I", 16384), struct.pack(">I", 64)))
        peer.answer()
        peer.send(echo())
        bodies: list[bytes] = []
        while not bodies or not bodies[-1][5] & LAST:
            bodies.append(peer.answer()[1])
        assert max(map(len, bodies)) <= 64
        assert len(bodies) > 1
        peer.release()


# --- the end ---


def test_a_release_is_recorded_before_it_is_answered(peer: Peer, kept: Kept) -> None:
    peer.send(store(b"ab"), RELEASE_RQ)
    assert peer.status() == 0
    assert peer.answer() == (6, bytes(4))
    assert kept.told == ["released"]


def test_a_lost_connection_and_an_abort_are_recorded_as_such(server: Server, kept: Kept) -> None:
    for end in (b"", pdu(7, bytes(4)), store(b"cd")[:-1]):
        with Peer(server.ports[0]) as peer:
            peer.associate()
            peer.send(store(b"ab"))
            assert peer.status() == 0
            peer.send(end)
        until(lambda: "lost" in kept.told, "recorded")
        assert kept.told in (["lost"], ["discarded", "lost"])
        kept.told.clear()


VIOLATIONS: dict[str, tuple[bytes, Abort]] = {
    "garbage": (b"GET / HTTP/1.0\r\n\r\n", Abort.UNRECOGNISED_PDU),
    "a type that is none": (pdu(9, b"x"), Abort.UNRECOGNISED_PDU),
    "type 0": (pdu(0, b""), Abort.UNRECOGNISED_PDU),
    "A-ASSOCIATE-RQ twice": (request(), Abort.UNEXPECTED_PDU),
    "A-ASSOCIATE-AC": (pdu(2, bytes(68)), Abort.UNEXPECTED_PDU),
    "A-ASSOCIATE-RJ": (pdu(3, bytes(4)), Abort.UNEXPECTED_PDU),
    "A-RELEASE-RP": (pdu(6, bytes(4)), Abort.UNEXPECTED_PDU),
    "a release too long": (pdu(5, bytes(5)), Abort.PDU_LENGTH),
    "a P-DATA-TF of nothing": (pdu(4, b""), Abort.PDU_LENGTH),
    "a PDU over the maximum": (struct.pack(">BxI", 4, MAXIMUM_PDU_BYTES + 1), Abort.PDU_LENGTH),
    "a PDU of 4 GiB": (struct.pack(">BxI", 4, 0xFFFFFFFF), Abort.PDU_LENGTH),
    "a value longer than its PDU": (pdu(4, struct.pack(">IBB", 100, 1, 3) + STORE[:20]), Abort.VALUE_LENGTH),
    "a value of 4 GiB": (pdu(4, struct.pack(">IBB", 0xFFFFFFFF, 1, 3)), Abort.VALUE_LENGTH),
    "a value of 0 bytes": (pdu(4, struct.pack(">IBB", 0, 1, 3)), Abort.VALUE_LENGTH),
    "a value of 1 byte": (pdu(4, struct.pack(">IBB", 1, 1, 3)), Abort.VALUE_LENGTH),
    "half a value header": (pdu(4, values((1, CMD, STORE[:20]))[6:] + b"abc"), Abort.VALUE_LENGTH),
    "an unknown context": (message(5, STORE, b"ab", 0), Abort.UNKNOWN_CONTEXT),
    "a refused context": (message(7, STORE, b"ab", 0), Abort.UNKNOWN_CONTEXT),
    "data before a command": (values((1, DATA | LAST, b"ab")), Abort.FRAGMENT_ORDER),
    "data of another context": (
        values((1, CMD | LAST, STORE), (1, DATA, b"ab"), (3, DATA | LAST, b"cd")),
        Abort.FRAGMENT_ORDER,
    ),
    "a command inside a data set": (
        values((1, CMD | LAST, STORE), (1, DATA, b"ab"), (1, CMD | LAST, STORE)),
        Abort.FRAGMENT_ORDER,
    ),
    "data inside a command": (values((1, CMD, STORE[:20]), (1, DATA, b"ab")), Abort.FRAGMENT_ORDER),
    "fragments of two commands": (values((1, CMD, STORE[:20]), (3, CMD | LAST, STORE[20:])), Abort.FRAGMENT_ORDER),
    "a command without end": (values((1, CMD, bytes(60_000))) * 2, Abort.COMMAND_TOO_LARGE),
    "an element longer than its command": (values((1, CMD | LAST, STORE[:-8])), Abort.MALFORMED_COMMAND),
    "half an element": (values((1, CMD | LAST, STORE + b"\0\0\0")), Abort.MALFORMED_COMMAND),
    "an element of 4 GiB": (values((1, CMD | LAST, struct.pack("<HHI", 0, 2, 0xFFFFFFFF))), Abort.MALFORMED_COMMAND),
    "an empty command": (values((1, CMD | LAST, b"")), Abort.MALFORMED_COMMAND),
    "an element of another group": (
        values((1, CMD | LAST, STORE + struct.pack("<HHI", 8, 5, 0))),
        Abort.MALFORMED_COMMAND,
    ),
    "an element twice": (
        values((1, CMD | LAST, STORE + struct.pack("<HHIH", 0, 0x100, 2, 1))),
        Abort.MALFORMED_COMMAND,
    ),
    "no message ID": (
        values((1, CMD | LAST, write_command({Tag.COMMAND_FIELD: 1, Tag.DATA_SET_TYPE: 1}))),
        Abort.MALFORMED_COMMAND,
    ),
    "a response that nobody waits for": (
        message(
            1, write_command({Tag.COMMAND_FIELD: 0x8001, Tag.MESSAGE_ID_BEING_RESPONDED_TO: 1, 0x800: 0x101}), b"", 0
        ),
        Abort.UNEXPECTED_RESPONSE,
    ),
    "a release inside a data set": (
        values((1, CMD | LAST, STORE), (1, DATA, b"ab")) + RELEASE_RQ,
        Abort.UNEXPECTED_PDU,
    ),
    "a release inside a command": (values((1, CMD, STORE[:20])) + RELEASE_RQ, Abort.UNEXPECTED_PDU),
    "an object over the limit": (store(bytes(20_000_001), maximum=131072), Abort.OBJECT_TOO_LARGE),
}


@pytest.mark.parametrize(("encoded", "abort"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_violation_is_an_abort_with_its_reason(server: Server, kept: Kept, encoded: bytes, abort: Abort) -> None:
    """What was acknowledged before stays, nothing of the rest is kept, and the receiver goes on."""
    with structlog.testing.capture_logs() as events, Peer(server.ports[0]) as peer:
        peer.associate(CONTEXTS + item(0x20, b"\7\0\0\0" + item(0x30, b"1.2.3") + item(0x40, b"1.2.840.10008.1.2")))
        peer.send(store(b"before"))
        assert peer.status() == 0
        try:
            peer.send(encoded)
        except OSError:
            assert abort is Abort.OBJECT_TOO_LARGE, "it may hear of it while it sends"
        assert peer.answer() == (7, bytes((0, 0, *abort.codes)))
        assert peer.answer() == (0, b"")
        until(lambda: "lost" in kept.told, "recorded")
    assert [e["reason"] for e in events if e["event"] == "association_aborted"] == [abort.reason]
    assert kept.objects == [b"before"]
    with Peer(server.ports[0]) as again:
        again.associate().release()


def test_the_states_say_which_pdu_may_come_when() -> None:
    """PS3.8 table 9-10, columns Sta2 and Sta6."""
    for state, allowed in ((states.State.AWAITING_REQUEST, {1, 7}), (states.State.ESTABLISHED, {4, 5, 7})):
        for kind in range(256):
            if kind in allowed:
                assert states.expected(state, kind, 4) == kind
            else:
                with pytest.raises(states.ProtocolError) as caught:
                    states.expected(state, kind, 4)
                assert caught.value.abort is (Abort.UNEXPECTED_PDU if kind in range(1, 8) else Abort.UNRECOGNISED_PDU)


def test_a_command_in_a_great_many_fragments_costs_no_time(peer: Peer, kept: Kept) -> None:
    """64 KiB a byte at a time; copied at each, it would be 2 GB."""
    command = store_command(instance="1." + "2" * 64_000)
    fragments = [
        values(*((1, CMD, bytes([byte])) for byte in command[at : at + 1000])) for at in range(0, len(command), 1000)
    ]
    began = time.process_time()
    peer.send(*fragments, values((1, CMD | LAST, b""), (1, DATA | LAST, b"ab")))
    assert peer.status() == 0
    assert time.process_time() - began < 1
    assert kept.objects == [b"ab"]


def test_a_message_without_an_end_is_told_by_its_limit() -> None:
    """A message for a handler is gathered in memory, so its size is bounded."""
    kept, seen = Kept(), []
    action = {Tag.COMMAND_FIELD: Command.N_ACTION_RQ, Tag.MESSAGE_ID: 5, Tag.DATA_SET_TYPE: 1}
    handlers = {Command.N_ACTION_RQ: lambda message, channel: seen.append(message.data)}
    with receiving(kept, handlers=handlers) as server, Peer(server.ports[0]) as peer:
        peer.associate()
        wire = message(1, write_command(action), bytes((16 << 20) + 1), 131072)
        with contextlib.suppress(OSError):
            peer.send(wire)
        assert peer.answer() == (7, bytes(4))
    assert seen == []


def test_a_defect_of_a_handler_costs_its_association(kept: Kept) -> None:
    broken = {Command.C_ECHO_RQ: lambda message, channel: 1 / 0}
    with structlog.testing.capture_logs() as events, receiving(kept, handlers=broken) as server:
        with Peer(server.ports[0]) as peer:
            peer.associate()
            peer.send(echo())
            assert peer.answer() == (7, bytes((0, 0, *Abort.DEFECT.codes)))
        with Peer(server.ports[0]) as again:
            again.associate().release()
    assert [e["error_class"] for e in events if e["event"] == "association_failed"] == ["ZeroDivisionError"]
