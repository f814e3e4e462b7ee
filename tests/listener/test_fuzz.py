"""The receive path against whatever hypothesis thinks of; ``tests/fuzz`` says what has to hold, and fuzzes for longer."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from egfr_dls.spool import DirectorySpool, SegmentFull
from egfr_dls.study import ReceivedInstance
from listener.storage.part10 import file_head
from listener.storage.reception import Reception
from listener.upper_layer.command_set import MAXIMUM_COMMAND_BYTES, write_command
from listener.upper_layer.pdu import MAXIMUM_PDU_BYTES
from listener.upper_layer.server import Server
from tests.fuzz import fuzz_commitment, fuzz_data_set, fuzz_index, fuzz_pdu, fuzz_spool
from tests.fuzz.doubles import MemorySpool
from tests.fuzz.mutation import mutated
from tests.fuzz.reference import Limits, commands, listen
from tests.listener.nodes import until
from tests.listener.wire import CT, EXPLICIT, Peer, listener_settings, pdu, receiving, values

CONVERSATIONS = list(fuzz_pdu.seeds())
DATA_SETS = list(fuzz_data_set.seeds())
REQUESTS = list(fuzz_commitment.seeds())
SEED = st.integers(0, 2**32 - 1)
MAX_OBJECT_BYTES = 20_000


def examples(count: int) -> settings:
    """Return a profile that finds the same at each run."""
    shared_fixture = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=shared_fixture
    )


@st.composite
def fragments(draw: st.DrawFn) -> tuple[int, int, bytes]:
    """Return context ID, message control header and content of a presentation data value."""
    numbers = {tag: draw(st.integers(0, 0xFFFF)) for tag in (0x0110, 0x0120, 0x1008)}
    field = draw(st.sampled_from([0x0001, 0x0030, 0x0130, 0x0FFF, 0x8100, 0x0020, 0x8001]))
    uids = {0x0002: CT, 0x1000: draw(st.sampled_from(["1.2.3", "", "1.2." + "3" * 61, "../../x"]))}
    command = write_command({**uids, **numbers, 0x0100: field, 0x0800: draw(st.sampled_from([1, 0x0101]))})
    content = draw(st.sampled_from([command, fuzz_data_set.data_set()]) | st.binary(max_size=40))
    return draw(st.sampled_from([1, 3, 5, 7, 9])), draw(st.integers(0, 3)), content


PDUS = st.one_of(
    st.lists(fragments(), min_size=1, max_size=3).map(lambda drawn: values(*drawn)),
    st.builds(pdu, st.integers(0, 8), st.binary(max_size=10)),
    st.just(fuzz_pdu.store(fuzz_data_set.data_set())),
    st.binary(max_size=12),
)


# --- the upper layer, without a network ---


@examples(250)
@given(cut=st.integers(0, 255), pdus=st.lists(PDUS, max_size=6))
def test_any_pdus_are_answered_as_the_standard_says(cut: int, pdus: list[bytes]) -> None:
    fuzz_pdu.check(bytes([cut | 1]) + b"".join(pdus))


@examples(300)
@given(stream=st.binary(max_size=300))
def test_any_bytes_before_an_association_leave_nothing(stream: bytes) -> None:
    spool = MemorySpool()
    fuzz_pdu.check(b"\0" + stream, spool)
    assert not spool.kept


@examples(600)
@given(conversation=st.sampled_from(CONVERSATIONS), seed=SEED, cut=st.integers(0, 127))
def test_changed_conversations_are_answered_as_the_standard_says(conversation: bytes, seed: int, cut: int) -> None:
    changed = fuzz_pdu.mutate(conversation, seed)
    fuzz_pdu.check(bytes([cut << 1 | changed[0] & 1]) + changed[1:])


# --- what stands inside ---


@examples(700)
@given(data_set=st.sampled_from(DATA_SETS), seed=SEED, how=st.integers(0, 50))
def test_changed_data_sets_are_taken_or_refused(data_set: bytes, seed: int, how: int) -> None:
    fuzz_data_set.check(
        bytes([how * len(fuzz_data_set.SYNTAXES) + data_set[0]]) + mutated(data_set[1:], random.Random(seed))
    )


@examples(700)
@given(request=st.sampled_from(REQUESTS), seed=SEED)
def test_changed_commitment_requests_are_read_or_refused(request: bytes, seed: int) -> None:
    fuzz_commitment.check(request[:1] + mutated(request[1:], random.Random(seed)))


@examples(300)
@given(encoded=st.binary(min_size=1, max_size=200))
@example(b"\2" + bytes(range(200)))
def test_the_spool_shows_what_was_written_and_nothing_else(encoded: bytes) -> None:
    fuzz_spool.check(encoded)


@examples(15)
@given(script=st.binary(min_size=30, max_size=80))
def test_the_indexer_takes_any_order_of_records_and_loses_none(script: bytes) -> None:
    fuzz_index.check(script)


# --- the running receiver, over loopback ---


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[DirectorySpool]:
    opened = DirectorySpool(tmp_path, "fuzz", segment_bytes=100_000)
    yield opened
    opened.close()


@pytest.fixture
def server(spool: DirectorySpool) -> Iterator[Server]:
    with receiving(Reception(spool, 0), listener_settings(max_object_bytes=MAX_OBJECT_BYTES)) as started:
        yield started


@examples(150)
@given(conversation=st.sampled_from(CONVERSATIONS), seed=SEED)
def test_changed_conversations_over_loopback(
    server: Server, spool: DirectorySpool, conversation: bytes, seed: int
) -> None:
    """Each whole C-STORE gets one answer, each Success is in the spool byte for byte, and the thread ends."""
    stream = fuzz_pdu.mutate(conversation, seed)[1:]
    before = len(instances(spool))
    sent = said(server, fuzz_pdu.REQUEST + stream)
    accept = 6 + int.from_bytes(sent[2:6], "big")
    contexts = fuzz_pdu.accepted_contexts(sent[74:accept])
    heard = listen(stream, contexts, Limits(MAXIMUM_PDU_BYTES, MAXIMUM_COMMAND_BYTES, MAX_OBJECT_BYTES))
    answers, _ = commands(sent[accept:])
    stores = [m for m in heard.answered if m.command_field == 1]
    statuses = [m.elements[0x0900] for m in answers if m.command_field == 0x8001]
    assert len(statuses) == len(stores)
    stored = [m for m, status in zip(stores, statuses, strict=True) if status == fuzz_pdu.SUCCESS]
    heads = [file_head(CT, m.uid(0x1000), {1: EXPLICIT}.get(m.context_id, "1.2.840.10008.1.2")) for m in stored]
    assert instances(spool)[before:] == [head + m.data for head, m in zip(heads, stored, strict=True)]
    until(lambda: not [t for t in threading.enumerate() if t.name == "association"], "the thread has ended")


def said(server: Server, stream: bytes) -> bytes:
    """Return all that the receiver says to a stream, up to the end of the connection."""
    got = bytearray()
    with Peer(server.ports[0]) as peer:
        peer.send(stream)
        peer.socket.shutdown(socket.SHUT_WR)
        while part := peer.socket.recv(65536):
            got += part
    return bytes(got)


def instances(spool: DirectorySpool) -> list[bytes]:
    found = [r for r in spool.records("fuzz", {}, everything=True) if not isinstance(r.entry, SegmentFull)]
    return [spool.read(r.ref) for r in found if isinstance(r.entry, ReceivedInstance)]
