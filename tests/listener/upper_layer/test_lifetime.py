"""Deadlines, and how another thread ends a connection."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator

import pytest

from listener.status import Abort
from listener.upper_layer.errors import ProtocolError
from listener.upper_layer.lifetime import Lifetime
from listener.upper_layer.states import State


@pytest.fixture
def pair() -> Iterator[tuple[Lifetime, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(20)
        yield Lifetime(ours, 60), theirs


def test_the_request_has_thirty_seconds_or_the_idle_time_if_that_is_less() -> None:
    with socket.socket() as unconnected:
        assert Lifetime(unconnected, 600).deadline - Lifetime(unconnected, 0.5).deadline == pytest.approx(29.5, abs=0.1)


def test_before_an_association_the_end_is_the_end(pair: tuple[Lifetime, socket.socket]) -> None:
    life, theirs = pair
    life.expire(Abort.IDLE)
    assert theirs.recv(1) == b""
    assert (life.hung_up, life.deadline) == ("request_timeout", math.inf)


def test_a_session_is_asked_then_woken_then_hung_up(pair: tuple[Lifetime, socket.socket]) -> None:
    life, theirs = pair
    life.state = State.ESTABLISHED
    life.working()
    life.expire(Abort.DRAINED)
    assert life.deadline < math.inf
    with pytest.raises(ProtocolError) as asked:
        life.heard()
    assert asked.value.abort is Abort.DRAINED
    theirs.sendall(b"x")
    life.expire(Abort.IDLE)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)  # it can still be told
    life.expire(Abort.IDLE)
    assert theirs.recv(1) == b""
    assert life.hung_up == "drained"


def test_who_is_told_the_last_thing_has_some_seconds_to_close(pair: tuple[Lifetime, socket.socket]) -> None:
    life, theirs = pair
    life.closing()
    assert (life.state, life.deadline < math.inf) == (State.CLOSING, True)
    life.expire(Abort.IDLE)
    assert theirs.recv(1) == b""


def test_a_socket_that_is_closed_already_is_no_trouble() -> None:
    with socket.socket() as closed:
        closed.close()
        Lifetime(closed, 1).hang_up("crowded_out")
