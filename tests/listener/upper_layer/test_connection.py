"""Callers before and around an association: those that stall, babble, come in crowds, or never listen."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from listener.status import Abort, Rejection
from listener.upper_layer import connection, lifetime
from listener.upper_layer import server as servers
from listener.upper_layer.command_set import NO_DATA_SET, Tag, write_command
from listener.upper_layer.connection import Connection
from listener.upper_layer.pdu import message
from listener.upper_layer.proposal import MAXIMUM_REQUEST_BYTES
from listener.upper_layer.server import Server
from tests.listener.nodes import until
from tests.listener.wire import (
    RELEASE_RQ,
    Kept,
    KeptObject,
    Peer,
    context,
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

BY_USER = (7, bytes(4))  # A-ABORT before an association: source 0 (PS3.8 table 9-10, AA-1)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def server(kept: Kept) -> Iterator[Server]:
    with receiving(kept) as started:
        yield started


def threads() -> int:
    return sum(thread.name == "association" for thread in threading.enumerate())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- before an association ---

BODY = request()[6:]
BAD_REQUESTS: dict[str, tuple[bytes, Abort]] = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Abort.UNRECOGNISED_PDU),
    "TLS": (bytes.fromhex("16030100c8010000c4"), Abort.UNRECOGNISED_PDU),
    "zeros": (bytes(1000), Abort.UNRECOGNISED_PDU),
    "data first": (store(b"ab"), Abort.UNEXPECTED_PDU),
    "a release first": (RELEASE_RQ, Abort.UNEXPECTED_PDU),
    "a request of 4 GiB": (struct.pack(">BxI", 1, 0xFFFFFFFF), Abort.PDU_LENGTH),
    "a request over the limit": (struct.pack(">BxI", 1, MAXIMUM_REQUEST_BYTES + 1), Abort.PDU_LENGTH),
    "an empty request": (pdu(1, b""), Abort.MALFORMED_REQUEST),
    "half a request": (pdu(1, BODY[:40]), Abort.MALFORMED_REQUEST),
    "a request that ends in an item": (pdu(1, BODY[:-1]), Abort.MALFORMED_REQUEST),
    "a request that ends in an item's header": (pdu(1, BODY + b"\x51\0"), Abort.MALFORMED_REQUEST),
    "10,000 contexts": (request(b"".join(context(n % 128 * 2 + 1) for n in range(10_000))), Abort.TOO_MANY_CONTEXTS),
    "an even context ID": (request(context(2)), Abort.MALFORMED_REQUEST),
    "a context ID twice": (request(context(1) + context(1)), Abort.MALFORMED_REQUEST),
    "a context without syntaxes": (request(item(0x20, b"\1\0\0\0")), Abort.MALFORMED_REQUEST),
    "a context of 2 bytes": (request(item(0x20, b"\1\0")), Abort.MALFORMED_REQUEST),
    "a context with two abstract syntaxes": (
        request(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") * 2 + item(0x40, b"1.2"))),
        Abort.MALFORMED_REQUEST,
    ),
    "a sub-item that lies": (
        request(item(0x20, b"\1\0\0\0\x30\0\xff\xff1.2" + item(0x40, b"1.2"))),
        Abort.MALFORMED_REQUEST,
    ),
    "a UID of other bytes": (request(context(1).replace(b"1.2.840", b"\xff.2.840")), Abort.MALFORMED_REQUEST),
    "a maximum length of 2 bytes": (request(user=item(0x51, b"ab")), Abort.MALFORMED_REQUEST),
    "a role selection that lies": (request(user=item(0x54, b"\0\x401.2")), Abort.MALFORMED_REQUEST),
}


@pytest.mark.parametrize(("encoded", "abort"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_what_is_no_request_is_aborted(server: Server, encoded: bytes, abort: Abort) -> None:
    with structlog.testing.capture_logs() as events, Peer(server.ports[0]) as peer:
        peer.send(encoded)
        assert peer.answer() == BY_USER
        assert peer.answer() == (0, b"")
    assert [(e["event"], e["reason"]) for e in events] == [("association_aborted", abort.reason)]


def test_an_abort_before_the_request_only_closes(server: Server) -> None:
    """AA-2: no A-ABORT answers an A-ABORT."""
    with Peer(server.ports[0]) as peer:
        peer.send(pdu(7, bytes(4)))
        assert peer.answer() == (0, b"")


@pytest.mark.parametrize(
    ("encoded", "rejection"),
    [
        (request(version=2), Rejection.PROTOCOL_VERSION),
        (request(application="1.2.3"), Rejection.APPLICATION_CONTEXT),
        (request(called="OTHER"), Rejection.CALLED_AE_TITLE),
    ],
    ids=["version", "application context", "called AE title"],
)
def test_a_request_that_cannot_be_taken_is_rejected(server: Server, encoded: bytes, rejection: Rejection) -> None:
    with structlog.testing.capture_logs() as events, Peer(server.ports[0]) as peer:
        peer.send(encoded)
        assert peer.answer() == (3, bytes((0, *rejection.codes)))
        assert peer.answer() == (0, b"")
    assert [(e["event"], e["reason"]) for e in events] == [("association_rejected", rejection.reason)]


def test_a_rejection_arrives_though_the_caller_goes_on_sending(server: Server) -> None:
    """Closing with unread bytes resets the connection, and the rejection with it."""
    with Peer(server.ports[0]) as peer:
        peer.send(request(called="OTHER"), *([store(bytes(100_000))] * 50))
        assert peer.answer() == (3, bytes((0, *Rejection.CALLED_AE_TITLE.codes)))
        assert peer.answer() == (0, b"")


def test_what_follows_the_request_at_once_is_read_after_it(server: Server, kept: Kept) -> None:
    with Peer(server.ports[0]) as peer:
        peer.send(request(), store(b"ab"), RELEASE_RQ)
        assert peer.answer()[0] == 2
        assert peer.status() == 0
        assert peer.answer() == (6, bytes(4))
    assert (kept.objects, kept.told) == ([b"ab"], ["released"])


# --- slow and silent callers ---


def trickled(peer: Peer, encoded: bytes) -> Callable[[], bool]:
    """Send a byte at a time until the other end has had enough."""
    rest = iter(encoded)

    def ended() -> bool:
        try:
            peer.socket.sendall(bytes([next(rest)]))
            peer.socket.settimeout(0.02)
            peer.socket.recv(1)
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    return ended


@pytest.mark.parametrize("encoded", [b"", request()[:50]], ids=["silent", "half a request"])
def test_a_caller_that_says_nothing_more_is_hung_up_on(encoded: bytes) -> None:
    with receiving(Kept(), listener_settings(idle_seconds=0.3)) as server, Peer(server.ports[0]) as peer:
        peer.send(encoded)
        assert peer.answer() == (0, b"")
        until(lambda: threads() == 0, "its thread has ended")


def test_a_request_byte_by_byte_is_hung_up_on() -> None:
    """The time is that of the whole request (ARTIM), not from byte to byte."""
    with (
        structlog.testing.capture_logs() as events,
        receiving(Kept(), listener_settings(idle_seconds=0.3)) as server,
        Peer(server.ports[0]) as peer,
    ):
        until(trickled(peer, request()), "hung up on")
        until(lambda: events, "logged")
    assert [e["reason"] for e in events] == ["request_timeout"]


@pytest.mark.parametrize("encoded", [store(bytes(5000)), values((1, 1, store_command()))], ids=["data", "command"])
def test_a_pdu_byte_by_byte_is_aborted(encoded: bytes) -> None:
    with (
        structlog.testing.capture_logs() as events,
        receiving(Kept(), listener_settings(idle_seconds=0.3)) as server,
        Peer(server.ports[0]) as peer,
    ):
        peer.associate()
        until(trickled(peer, encoded), "aborted")
        until(lambda: threads() == 0, "its thread has ended")
    assert [e["reason"] for e in events if e["event"] == "association_aborted"] == ["idle"]


def test_silence_inside_an_object_is_aborted_and_nothing_of_it_kept(kept: Kept) -> None:
    with receiving(kept, listener_settings(idle_seconds=0.3)) as server, Peer(server.ports[0]) as peer:
        peer.associate()
        peer.send(store(bytes(9_000_000))[:-1])
        assert peer.answer() == (7, bytes((0, 0, *Abort.IDLE.codes)))
        assert peer.answer() == (0, b"")
        until(lambda: kept.told == ["discarded"], "discarded")
    assert kept.objects == []


def test_a_caller_that_only_ever_needed_no_answer_is_aborted_too() -> None:
    """A C-CANCEL-RQ together with the request, then silence."""
    cancel = {Tag.COMMAND_FIELD: 0x0FFF, Tag.MESSAGE_ID_BEING_RESPONDED_TO: 1, Tag.DATA_SET_TYPE: NO_DATA_SET}
    with receiving(Kept(), listener_settings(idle_seconds=0.3)) as server, Peer(server.ports[0]) as peer:
        peer.send(request(), message(1, write_command(cancel), b"", 0))
        assert peer.answer()[0] == 2
        assert peer.answer() == (7, bytes((0, 0, *Abort.IDLE.codes)))


def test_a_disk_that_takes_its_time_is_not_the_callers_silence(kept: Kept) -> None:
    waited = threading.Event()
    kept.before = lambda: waited.wait(1.0)  # type: ignore[assignment, return-value]
    with receiving(kept, listener_settings(idle_seconds=0.3)) as server, Peer(server.ports[0]) as peer:
        peer.associate()
        peer.send(store(b"ab"))
        assert peer.status() == 0
        peer.release()


def test_a_caller_that_never_reads_its_answers_is_hung_up_on() -> None:
    """Its answers fill both ends' buffers, so that our send waits."""
    with receiving(Kept(), listener_settings(idle_seconds=0.3)) as server, Peer(server.ports[0]) as peer:
        peer.associate()
        peer.socket.settimeout(0.2)
        until(lambda: stuffed(peer, echo() * 1000), "cannot send either")
        until(lambda: threads() == 0, "its thread has ended")


def stuffed(peer: Peer, encoded: bytes) -> bool:
    try:
        peer.socket.sendall(encoded)
    except OSError:
        return True
    return False


def test_stalled_callers_shut_nobody_out(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """The oldest of too many is hung up on; an open association is none of them."""
    monkeypatch.setattr(servers, "WAITING_CONNECTIONS", 10)
    with Peer(server.ports[0]) as first:
        first.associate()
        stalled = [Peer(server.ports[0]) for _ in range(30)]
        for peer in stalled:
            peer.send(b"\1")
        with Peer(server.ports[0]) as good:
            good.associate().release()
        assert stalled[0].answer() == (0, b"")
        until(lambda: threads() <= 12, "no more threads than may wait, and two")
        first.release()
        for peer in stalled:
            peer.socket.close()


def test_a_peer_that_closes_late_has_its_whole_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The silence after which a buffer is given back is none of its business: a reset could cost it our last PDU."""
    monkeypatch.setattr(connection, "_REST", struct.pack("qq", 0, 20_000))
    monkeypatch.setattr(lifetime, "CLOSING_SECONDS", 1.0)
    with Peer(server.ports[0]) as peer:
        peer.associate().release()
        began = time.monotonic()
        until(lambda: threads() == 0, "hung up")
        assert time.monotonic() - began > 0.5


# --- speed and size ---


def test_a_sender_with_nagle_on_does_not_wait_for_delayed_acknowledgements(server: Server) -> None:
    """Command and data set in writes of their own: without TCP_QUICKACK each instance costs 40 ms."""
    with Peer(server.ports[0]) as peer:
        peer.associate()
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        began = time.monotonic()
        for number in range(100):
            peer.send(message(1, store_command(number), b"", 0))
            peer.send(values((1, 0, bytes(100))))
            peer.send(values((1, 2, bytes(100))))
            assert peer.status() == 0
        assert time.monotonic() - began < 2


def test_memory_does_not_grow_with_an_object(server: Server, kept: Kept) -> None:
    """256 MiB pass through a receiver that keeps nothing."""
    sizes: list[int] = []

    def begin(*_: object) -> KeptObject:
        passing = KeptObject(Kept())
        passing.write = lambda data: sizes.append(resident_bytes())  # type: ignore[method-assign]
        return passing

    kept.begin = begin  # type: ignore[method-assign]
    part = values((1, 0, bytes(131066))) * 16
    with Peer(server.ports[0]) as peer:
        peer.associate()
        before = resident_bytes()
        peer.send(message(1, store_command(), b"", 0))
        for _ in range(128):
            peer.send(part)
        peer.send(values((1, 2, b"")))
        assert peer.status() == 0
    assert len(sizes) > 60
    assert max(sizes) - before < 16 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- crowds ---


def test_after_200_hostile_connections_nothing_is_left(server: Server, kept: Kept) -> None:
    with Peer(server.ports[0]) as peer:
        peer.associate().release()
    until(lambda: threads() == 0, "at rest")
    before = descriptors()
    babble = [encoded for encoded, _ in BAD_REQUESTS.values()]
    after = [request() + encoded for encoded in (b"GET /", pdu(9, b""), store(bytes(10_000))[:-1], store(b"ab"), b"")]
    for number in range(200):
        with Peer(server.ports[0]) as peer:
            peer.send((babble + after)[number % (len(babble) + len(after))])
            if number % 3 == 0:  # a reset instead of a close
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: threads() == 0, "threads are given back")
    until(lambda: descriptors() == before, "sockets are given back")
    with Peer(server.ports[0]) as peer:
        peer.associate()
        peer.send(store(b"good"))
        assert peer.status() == 0
        peer.release()


def test_a_flood_of_rejections_is_a_few_lines(server: Server) -> None:
    with structlog.testing.capture_logs() as events:
        began = time.monotonic()
        for _ in range(100):
            with Peer(server.ports[0]) as peer:
                peer.send(request(called="OTHER"))
                assert peer.answer()[0] == 3
        seconds = time.monotonic() - began
    lines = [e for e in events if e["event"] == "association_rejected"]
    assert 1 <= len(lines) <= seconds + 1
    assert sum(e["count"] for e in lines) <= 100


def test_a_thread_that_cannot_be_had_costs_its_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", refuse)
        with Peer(server.ports[0]) as peer:
            assert peer.answer() == (0, b"")
    with Peer(server.ports[0]) as again:
        again.associate().release()


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_without_a_free_descriptor_the_receiver_waits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failed = socket.socket.accept, threading.Event()

    def accept(self: socket.socket) -> tuple[socket.socket, object]:
        if not failed.is_set():
            failed.set()
            raise OSError(24, os.strerror(24))
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with Peer(server.ports[0]) as peer:
        peer.associate().release()
    assert failed.is_set()


def test_a_defect_in_a_connection_is_logged_and_ends_it_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with structlog.testing.capture_logs() as events:
        with monkeypatch.context() as broken, Peer(server.ports[0]) as peer:
            broken.setattr(Connection, "_request", lambda *_: 1 / 0)
            peer.send(request())
            assert peer.answer() == BY_USER
        with Peer(server.ports[0]) as again:
            again.associate().release()
    assert [e["error_class"] for e in events if e["event"] == "association_failed"] == ["ZeroDivisionError"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reception_that_fails_at_the_end_costs_no_place() -> None:
    class Failing(Kept):
        def lost(self, association_id: str) -> None:
            raise OSError

    with receiving(Failing(), listener_settings(max_associations=1)) as server:
        with Peer(server.ports[0]) as peer:
            peer.associate()
            peer.send(store(b"ab"))
            peer.answer()
        until(lambda: accepted(server), "place free")


def accepted(server: Server) -> bool:
    with Peer(server.ports[0]) as peer:
        peer.send(request())
        return peer.answer()[0] == 2
