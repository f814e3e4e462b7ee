"""What the replayed recordings are judged by must notice what it is there for."""

from __future__ import annotations

import random

import pytest

from benchmarks.replay_fuzz import Footprint, Outcome, _judge_answers, _judge_footprint
from listener.upper_layer.command_set import read_command, write_response
from listener.upper_layer.negotiation import acceptance, negotiate
from listener.upper_layer.pdu import RELEASE_RP, message
from listener.upper_layer.proposal import read_proposal
from tests.fuzz.mutation import CHANGES, mutated, split
from tests.listener.wire import RELEASE_RQ, request, store, store_command

PROPOSAL = read_proposal(memoryview(request())[6:])
ACCEPT = acceptance(PROPOSAL, negotiate(PROPOSAL))
STREAM = request() + store(b"ab") + RELEASE_RQ


def answer(status: int) -> bytes:
    return message(1, write_response(read_command(store_command()), status), b"", 0)


def test_success_is_counted_and_remembered() -> None:
    outcome = Outcome()
    _judge_answers(outcome, STREAM, ACCEPT + answer(0) + RELEASE_RP)
    assert outcome.counts == {"established": 1, "whole": 1, "answered": 1, "success": 1, "released": 1}
    assert outcome.acknowledged == outcome.sent
    assert [uid for uid, _ in outcome.acknowledged] == ["1.2.3"]


def test_a_refusal_is_an_answer_and_no_success() -> None:
    outcome = Outcome()
    _judge_answers(outcome, STREAM, ACCEPT + answer(0xC000) + RELEASE_RP)
    assert outcome.counts["answered"] == 1
    assert not outcome.acknowledged


@pytest.mark.parametrize("answers", [b"", answer(0) * 2, answer(0)[:-1]], ids=["none", "two", "half"])
def test_a_store_that_has_not_exactly_one_answer_is_a_fault(answers: bytes) -> None:
    with pytest.raises(AssertionError):
        _judge_answers(Outcome(), STREAM, ACCEPT + answers)


@pytest.mark.parametrize("after", [Footprint(109, 99, 5, 20), Footprint(100, 90, 6, 20), Footprint(100, 90, 5, 21)])
def test_what_is_not_given_back_is_a_fault(after: Footprint) -> None:
    outcome = Outcome()
    _judge_footprint(outcome, Footprint(100, 90, 5, 20), after)
    assert len(outcome.faults) == 1


def test_every_way_of_changing_a_stream_takes_any_stream() -> None:
    chosen = random.Random(1)
    for stream in (STREAM, b"", b"\4", STREAM[:20], bytes(100), store(bytes(5000), maximum=100)):
        for change in CHANGES:
            for _ in range(20):
                parts = split(stream) or [b""]
                change(parts, chosen)
        assert isinstance(mutated(stream, chosen), bytes)


def test_a_stream_is_split_at_its_pdus() -> None:
    parts = split(STREAM + b"\4\0\0")
    assert b"".join(parts) == STREAM + b"\4\0\0"
    assert [part[0] for part in parts] == [1, 4, 4, 5, 4]
