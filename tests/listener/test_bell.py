"""The bell that wakes the indexer, within a process and between two."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator

import pytest

from listener.bell import Bell

LIMIT_SECONDS = 20.0


@pytest.fixture
def bell() -> Iterator[Bell]:
    """A bell."""
    made = Bell()
    yield made
    made.close()


def test_many_rings_wake_once_and_never_block(bell: Bell) -> None:
    for _ in range(100_000):  # more than a pipe holds
        bell.ring()
    assert bell.wait(LIMIT_SECONDS)
    while bell.wait(0.0):  # what the pipe still held
        assert bell.wait(0.0)
        break
    bell.let_go()
    bell.ring()
    while bell.wait(LIMIT_SECONDS):
        pass


def test_a_ring_wakes_who_waits(bell: Bell) -> None:
    woken = threading.Event()
    waiting = threading.Thread(target=lambda: bell.wait(LIMIT_SECONDS) and woken.set())
    waiting.start()
    bell.ring()
    waiting.join(LIMIT_SECONDS)
    assert woken.is_set()


def test_the_listener_hears_when_the_last_process_has_let_go(bell: Bell) -> None:
    context = multiprocessing.get_context("fork")
    go = context.Event()
    other = context.Process(target=go.wait)  # holds the rope until it ends
    other.start()
    bell.let_go()
    assert bell.wait(0.0), "somebody could still ring"
    go.set()
    other.join(LIMIT_SECONDS)
    assert not bell.wait(LIMIT_SECONDS)
