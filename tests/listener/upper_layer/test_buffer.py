"""The receive buffer: its invariants under any order of calls, and that its memory is only what was touched."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from listener.upper_layer.buffer import CAPACITY_BYTES, ROOM_BYTES, ReceiveBuffer
from listener.upper_layer.errors import ConnectionLostError
from listener.upper_layer.pdu import HEADER, MAXIMUM_PDU_BYTES
from listener.upper_layer.stream import PlainStream

Pair = tuple[socket.socket, ReceiveBuffer]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        with theirs:
            yield ours, ReceiveBuffer(theirs, PlainStream(theirs))


def filled(ours: socket.socket, buffer: ReceiveBuffer, content: bytes) -> None:
    """Send, and receive until all of it waits."""
    before = buffer.end - buffer.start
    sent = 0
    while buffer.end - buffer.start < before + len(content):
        sent += ours.send(content[sent : sent + 65536]) if sent < len(content) else 0
        buffer.receive()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_gathered_is_what_was_sent(pair: Pair, data: st.DataObject) -> None:
    """Payloads with headers between them, taken whenever the buffer is full."""
    ours, buffer = pair
    chosen = random.Random(data.draw(st.integers(0, 1 << 32)))
    taken, expected = bytearray(), bytearray()
    for _ in range(chosen.randint(1, 60)):
        payload, header = chosen.randbytes(chosen.choice([0, 1, 4000, MAXIMUM_PDU_BYTES])), chosen.randbytes(12)
        filled(ours, buffer, header + payload)
        assert buffer.view[buffer.start : buffer.start + 12] == header
        buffer.gather(buffer.start + 12, buffer.end)
        buffer.start = buffer.end
        expected += payload
        assert 0 <= buffer.base <= buffer.tail <= buffer.start <= buffer.end <= CAPACITY_BYTES
        if buffer.is_full:
            taken += buffer.gathered
            buffer.clear()
    taken += buffer.gathered
    buffer.clear()
    assert taken == expected


def test_there_is_always_room(pair: Pair) -> None:
    """However full: what is gathered up to the limit and an incomplete PDU behind it."""
    ours, buffer = pair
    while not buffer.is_full:
        filled(ours, buffer, bytes(MAXIMUM_PDU_BYTES))
        buffer.gather(buffer.start, buffer.end)
        buffer.start = buffer.end
    buffer.gather(buffer.start, buffer.end)
    size = len(buffer.gathered)
    filled(ours, buffer, b"\1" * (MAXIMUM_PDU_BYTES + HEADER.size - 1))
    buffer._pack()
    assert CAPACITY_BYTES - buffer.end >= ROOM_BYTES
    assert len(buffer.gathered) == size
    assert bytes(buffer.view[buffer.start : buffer.end]) == b"\1" * (MAXIMUM_PDU_BYTES + HEADER.size - 1)


def test_pages_are_given_back_at_rest_and_only_then(pair: Pair) -> None:
    ours, buffer = pair
    filled(ours, buffer, b"\7" * 1000)
    buffer._give_back()
    assert buffer.view[buffer.start] == 7
    buffer.start = buffer.end
    buffer._give_back()
    assert buffer.view[0] == 0


def test_the_end_of_the_connection_is_told(pair: Pair) -> None:
    ours, buffer = pair
    ours.close()
    with pytest.raises(ConnectionLostError):
        buffer.receive()
