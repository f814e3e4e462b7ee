"""A whole connection against any bytes: what is answered is what ``reference`` says, and every Success is in the spool.

The first byte of an input says how the rest, the stream, is cut into pieces, and whether a usual A-ASSOCIATE-RQ goes before it.
The limits are made small, so that short inputs reach them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import structlog

from egfr_dls.spool import AssociationEnded, Entry
from egfr_dls.spool.contract import CommitmentRequested
from egfr_dls.study import ReceivedInstance
from listener.admission import Accepted, Admission, AssociationRequest
from listener.commitment.dialogue import CommitmentDialogue
from listener.commitment.scp import CommitmentScp
from listener.commitment.status import PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE
from listener.storage.part10 import file_head
from listener.storage.reception import Reception
from listener.upper_layer import buffer, session, states
from listener.upper_layer.command_set import Command, Tag, write_command
from listener.upper_layer.connection import Connection, Node
from listener.upper_layer.dispatch import HANDLERS
from listener.upper_layer.pdu import PduType, message
from tests.fuzz import fuzz_commitment, fuzz_data_set, mutation
from tests.fuzz.doubles import MemorySpool, ScriptedSocket
from tests.fuzz.reference import PEER_ABORTED, RELEASED, STORE, Heard, Limits, Message, commands, listen, pdus
from tests.listener.wire import (
    CT,
    EXPLICIT,
    IMPLICIT,
    RELEASE_RQ,
    VERIFICATION,
    context,
    echo,
    item,
    listener_settings,
    request,
    store_command,
    values,
)

LIMITS = Limits(pdu=512, command=700, data_set=3000)
REQUEST_BYTES = 1500
SETTINGS = listener_settings(check_called_ae_title=False, max_object_bytes=LIMITS.data_set, max_associations=1)
CONTEXTS = context(1) + context(3, VERIFICATION, IMPLICIT) + context(5, PUSH_MODEL_CLASS) + context(7, CT, IMPLICIT)
REQUEST = request(CONTEXTS)
SUCCESS = b"\0\0"


@contextmanager
def small_limits() -> Iterator[None]:
    """Make the receiver's limits small, the relations between them kept."""
    small: tuple[tuple[Any, str, int], ...] = (
        (buffer, "CAPACITY_BYTES", 2048),
        (buffer, "FULL_BYTES", 1024),
        (buffer, "ROOM_BYTES", 128),
        (session, "MAXIMUM_PDU_BYTES", LIMITS.pdu),
        (session, "MAXIMUM_COMMAND_BYTES", LIMITS.command),
    )
    lengths = {PduType.ASSOCIATE_RQ: (0, REQUEST_BYTES), PduType.DATA: (1, LIMITS.pdu)}
    with ExitStack() as stack:
        for module, name, value in small:
            stack.enter_context(patch.object(module, name, value))
        stack.enter_context(patch.dict(states.LENGTHS, lengths))
        yield


def check(encoded: bytes, spool: Any = None) -> None:
    """Serve one connection and hold all that is seen against the rules; raises AssertionError.

    Parameters
    ----------
    spool
        keeps what comes, and shows it as ``MemorySpool.kept`` does
    """
    cut = encoded[0] if encoded else 0
    stream = (REQUEST if cut & 1 else b"") + encoded[1:]
    spool = spool or MemorySpool()
    with structlog.testing.capture_logs() as events, ScriptedSocket(stream, cut) as scripted, small_limits():
        node = _node(spool)
        Connection(scripted, "127.0.0.1", node).run()
        _check_place(node.admission)
    defects = [e for e in events if e["event"] == "association_failed" or e.get("reason") == "defect"]
    assert not defects, defects
    _check_answers(stream, scripted.sent, spool)


def _node(spool: Any) -> Node:
    dialogue = CommitmentDialogue(CommitmentScp(spool, 0), _no_ledger, "fuzz")
    return Node(SETTINGS, _admission(), Reception(spool, 0), {**HANDLERS, **dialogue.handlers})


@cache
def _admission() -> Admission:
    """Return the only place there is."""
    return Admission(SETTINGS, lambda: 1 << 40, 0)


def _check_place(admission: Admission) -> None:
    accepted = admission.admit(AssociationRequest("SCANNER", "EGFR_DLS", "127.0.0.1"))
    assert isinstance(accepted, Accepted), "a place was not given back"
    admission.leave(accepted.association_id)


def _no_ledger() -> Any:
    raise AssertionError("no report is awaited")


def _check_answers(stream: bytes, sent: bytes, spool: Any) -> None:
    if sent[:1] != bytes([PduType.ASSOCIATE_AC]):
        kinds = [kind for kind, _ in pdus(sent)]
        assert kinds in ([], [PduType.ASSOCIATE_RJ], [PduType.ABORT])
        assert not spool.kept
        return
    accept = 6 + int.from_bytes(sent[2:6], "big")
    heard = listen(stream[6 + int.from_bytes(stream[2:6], "big") :], accepted_contexts(sent[74:accept]), LIMITS)
    answers, last = commands(sent[accept:])
    assert [_expected(m) for m in heard.answered] == [_said(m) for m in answers]
    assert last == _last(heard)
    _check_spool(heard, answers, spool.kept)


def accepted_contexts(items: bytes) -> list[int]:
    """Return the IDs of the accepted presentation contexts in the items of an A-ASSOCIATE-AC (PS3.8 9.3.3.2)."""
    found = []
    while items:
        length = int.from_bytes(items[2:4], "big")
        if items[0] == 0x21 and items[6] == 0:
            found.append(items[4])
        items = items[4 + length :]
    return found


def _expected(asked: Message) -> tuple[int, int, int]:
    return asked.context_id, asked.command_field | 0x8000, asked.message_id


def _said(answer: Message) -> tuple[int, int, int]:
    return answer.context_id, answer.command_field, int.from_bytes(answer.elements[0x0120], "little")


def _last(heard: Heard) -> bytes:
    """Return the PDU with which the acceptor ends."""
    if isinstance(heard.end, tuple):
        return bytes((PduType.ABORT, 0, 0, *heard.end))
    return bytes((PduType.RELEASE_RP, 0, 0, 0, 0)) if heard.end == RELEASED else b""


def _check_spool(heard: Heard, answers: list[Message], kept: list[tuple[Entry, bytes]]) -> None:
    """Every Success is a record with the bytes that came, nothing else is, and the end stands behind them."""
    taken = [asked for asked, answer in zip(heard.answered, answers, strict=True) if answer.elements[0x0900] == SUCCESS]
    durable = [asked for asked in taken if asked.command_field in (STORE, Command.N_ACTION_RQ)]
    records = [record for record in kept if not isinstance(record[0], AssociationEnded)]
    assert len(durable) == len(records)
    for asked, (entry, payload) in zip(durable, records, strict=True):
        if isinstance(entry, ReceivedInstance):
            assert asked.command_field == STORE
            assert entry.sop_instance_uid == asked.uid(0x1000)
            assert payload == file_head(asked.uid(0x0002), asked.uid(0x1000), entry.transfer_syntax_uid) + asked.data
        else:
            assert isinstance(entry, CommitmentRequested)
            assert payload == asked.data
    ends = [entry for entry, _ in kept[len(records) :] if isinstance(entry, AssociationEnded)]
    assert [end.released for end in ends] == ([heard.end == RELEASED] if durable else [])
    assert heard.end is not PEER_ABORTED or not any(end.released for end in ends)


def store(data: bytes, instance: str = "1.2.3", context_id: int = 1, maximum: int = LIMITS.pdu) -> bytes:
    """Return a C-STORE-RQ."""
    return message(context_id, store_command(1, instance), data, maximum)


def action(data: bytes) -> bytes:
    """Return a storage commitment request (N-ACTION-RQ, PS3.7 10.3.4)."""
    command: dict[int, int | str] = {
        Tag.REQUESTED_SOP_CLASS_UID: PUSH_MODEL_CLASS,
        Tag.COMMAND_FIELD: Command.N_ACTION_RQ,
        Tag.MESSAGE_ID: 9,
        Tag.DATA_SET_TYPE: 1,
        Tag.REQUESTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
        Tag.ACTION_TYPE_ID: 1,
    }
    return message(5, write_command(command), data, LIMITS.pdu)


def seeds() -> Iterator[bytes]:
    """Yield conversations as honest callers have them, and some that go wrong."""
    small, large = fuzz_data_set.data_set(), fuzz_data_set.data_set(pixel_bytes=2500)
    cancel = write_command(
        {Tag.COMMAND_FIELD: Command.C_CANCEL_RQ, Tag.MESSAGE_ID_BEING_RESPONDED_TO: 1, 0x0800: 0x0101}
    )
    report = write_command({Tag.COMMAND_FIELD: 0x8100, Tag.MESSAGE_ID_BEING_RESPONDED_TO: 1, 0x0800: 0x0101, 0x0900: 0})
    find = write_command({Tag.COMMAND_FIELD: 0x0020, Tag.MESSAGE_ID: 4, 0x0800: 1})
    command = store_command()
    streams = (
        RELEASE_RQ,
        echo() + RELEASE_RQ,
        store(small) + RELEASE_RQ,
        store(small) + store(large, maximum=100) + echo() + RELEASE_RQ,
        store(fuzz_data_set.data_set(implicit=True), context_id=7) + RELEASE_RQ,
        store(large)[:-1],
        store(small) + bytes.fromhex("07 00 00000004 00000000"),
        action(fuzz_commitment.request_bytes()) + report[:0] + message(5, report, b"", 0) + RELEASE_RQ,
        message(1, cancel, b"", 0) + message(1, find, small, 100) + RELEASE_RQ,
        values((1, 1, command[:20]), (1, 3, command[20:]), (1, 0, small[:50]), (1, 2, small[50:])) + RELEASE_RQ,
        store(bytes(3001)),
    )
    for cut in (1, 3, 0xFF):
        for stream in streams:
            yield bytes([cut]) + stream
    roles = item(0x54, b"\0\x14" + PUSH_MODEL_CLASS.encode() + b"\1\0")
    for asked in (REQUEST, request(CONTEXTS, user=roles), request(context(1, CT, IMPLICIT, EXPLICIT)), request(b"")):
        yield bytes([0]) + asked + echo() + RELEASE_RQ


def mutate(encoded: bytes, seed: int) -> bytes:
    """Return an input with its stream changed as a whole."""
    return encoded[:1] + mutation.mutated(encoded[1:], random.Random(seed))
