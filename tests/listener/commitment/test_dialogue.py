"""On the association that asks: a receiver on 127.0.0.1, pynetdicom as requester, and an indexer that a test moves by hand."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from sqlalchemy import select

from egfr_dls import settings as configuration
from egfr_dls.ledger import Ledger, commitments
from egfr_dls.ledger.commitments import CommitmentState
from egfr_dls.ledger.schema import commitment
from egfr_dls.spool import DirectorySpool
from egfr_dls.spool.contract import AssociationEnded, CommitmentRequested
from listener.admission import Accepted, Admission, AssociationRequest
from listener.commitment import dialogue as commitment_dialogue
from listener.commitment.dialogue import CommitmentDialogue
from listener.commitment.scp import CommitmentScp
from listener.commitment.settlement import Settlement
from listener.commitment.status import PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE
from listener.storage.reception import Reception
from listener.upper_layer.connection import Node
from listener.upper_layer.dispatch import HANDLERS, Channel
from listener.upper_layer.negotiation import Context, Result
from listener.upper_layer.proposal import Roles
from listener.upper_layer.server import Server, bind
from tests.builders import ct_slices
from tests.listener.nodes import until
from tests.listener.requester import EXPLICIT, IMPLICIT, TRANSACTION, Heard, Requester, ready, request

LISTENER = "listener-test"


@dataclass
class Bench:
    """A receiver and its dialogue, with spool and ledger."""

    port: int
    spool: DirectorySpool
    ledger: Ledger
    requester: Requester = field(default_factory=lambda: Requester("SCANNER", 0))
    marks: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def associated(
        self, syntaxes: Sequence[str] = (EXPLICIT,), *, hears: bool = True, **how: Any
    ) -> Iterator[Association]:
        """Hold an association of a requester."""
        ae = AE("SCANNER")
        ae.add_requested_context(PUSH_MODEL_CLASS, list(syntaxes))
        ae.add_requested_context(CTImageStorage, EXPLICIT)
        handlers = [(evt.EVT_N_EVENT_REPORT, self.requester.on_report)] if hears else []
        assoc = ae.associate("127.0.0.1", self.port, ae_title="EGFR_DLS", evt_handlers=handlers, **how)  # type: ignore[arg-type]
        assert assoc.is_established
        connection = assoc.dul.socket.socket  # pynetdicom drops it unclosed when the peer resets it
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.release()
            connection.close()

    def decide(self) -> None:
        """Enter and decide on what was asked since the last call."""
        with self.ledger.begin() as tx:
            for record in self.spool.records(LISTENER, self.marks):
                self.marks[record.ref.segment] = record.end
                if isinstance(record.entry, CommitmentRequested):
                    commitments.enter(tx, record.entry, self.spool.read(record.ref), LISTENER, time.time())
        Settlement(self.ledger, self.spool).apply(time.time())

    def rows(self) -> list[Any]:
        with self.ledger.read() as tx:
            return list(tx.execute(select(commitment).order_by(commitment.c.id)).all())

    def hear(self) -> Heard:
        """Return the next report, once its answer has arrived: pynetdicom cannot release while it is still to be sent."""
        heard = self.requester.next()
        until(lambda: all(row.sender != LISTENER for row in self.rows()), "answered")
        return heard

    def entries(self, kind: type) -> list[Any]:
        """Return the records of one kind in the spool."""
        return [r.entry for r in self.spool.records(LISTENER, {}) if isinstance(r.entry, kind)]

    def wait_for(self, **wanted: object) -> None:
        """Wait until the only request stands so."""
        until(lambda: wanted.items() <= self.rows()[0]._mapping.items(), f"{wanted}")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A receiver that is asked on 127.0.0.1."""
    settings = configuration.load(
        None,
        {
            "storage": {"root": tmp_path, "min_free_bytes": 0},
            "listener": {"port": 0, "peers": [{"ae_title": "SCANNER", "host": "127.0.0.1"}]},
        },
    )
    spool, ledger = DirectorySpool(tmp_path / "spool", LISTENER), Ledger(settings.ledger_url)
    dialogue = CommitmentDialogue(CommitmentScp(spool, 0), lambda: Ledger(settings.ledger_url), LISTENER)
    admission = Admission(settings.listener, spool.free_bytes, 0)
    node = Node(settings.listener, admission, Reception(spool, 0), handlers={**HANDLERS, **dialogue.handlers})
    server = Server(bind(settings.listener), node)
    with dialogue.running():
        server.start()
        yield Bench(server.ports[0], spool, ledger)
        server.drain(2)
    spool.close()
    ledger.close()


def ask(assoc: Association, ds: Dataset | None = None) -> int:
    status, _reply = ready(assoc).send_n_action(ds or request(["1.2.3"]), 1, PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE)
    return int(status.Status)


@pytest.mark.parametrize("syntaxes", [(EXPLICIT,), (IMPLICIT,), (IMPLICIT, EXPLICIT)])
def test_the_report_comes_on_the_association_that_asks(bench: Bench, syntaxes: tuple[str, ...]) -> None:
    with bench.associated(syntaxes) as assoc:
        assert ask(assoc) == 0x0000
        bench.decide()
        heard = bench.hear()
        bench.wait_for(state=CommitmentState.REPORTED, attempts=1, last_status=0)
    assert (heard.event_type, heard.transaction_uid, heard.failed) == (2, TRANSACTION, {"1.2.3": 0x0112})
    assert heard.transfer_syntax_uid == syntaxes[0]


def test_several_requests_are_reported_one_after_the_other(bench: Bench) -> None:
    with bench.associated() as assoc:
        for n in range(3):
            assert ask(assoc, request(["1.2.3"], f"1.2.{n}")) == 0x0000
        bench.decide()
        heard = [bench.hear().transaction_uid for _ in range(3)]
    assert sorted(heard) == ["1.2.0", "1.2.1", "1.2.2"]


def test_the_association_goes_on_and_its_end_is_recorded(bench: Bench) -> None:
    with bench.associated() as assoc:
        ask(assoc)
        bench.decide()
        bench.hear()
        assert ready(assoc).send_c_store(ct_slices()[0]).Status == 0x0000
        assert ask(assoc, request(["1.2.4"], "1.2.9")) == 0x0000
    until(lambda: [e.released for e in bench.entries(AssociationEnded)] == [True], "the end in the spool")


def test_the_end_of_an_association_that_only_asked_is_recorded(bench: Bench) -> None:
    with bench.associated() as assoc:
        ask(assoc)
    until(lambda: [e.released for e in bench.entries(AssociationEnded)] == [True], "the end in the spool")


def test_one_that_goes_on_sending_is_not_interrupted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that waits for a C-STORE-RSP does not expect a request of ours."""
    looked = threading.Event()
    look = CommitmentDialogue._look
    monkeypatch.setattr(CommitmentDialogue, "_look", lambda *a: (look(*a), looked.set()))
    ds = ct_slices()[0]
    with bench.associated() as assoc:
        ask(assoc)
        bench.decide()
        end = time.monotonic() + 2 * commitment_dialogue.QUIET_SECONDS
        while time.monotonic() < end:
            assert ready(assoc).send_c_store(ds).Status == 0x0000
        assert looked.is_set()
        assert bench.rows()[0].attempts == 0
        bench.hear()  # once it is quiet


@pytest.mark.parametrize("state", [CommitmentState.SETTLED, CommitmentState.DEAD])
def test_an_answer_that_is_no_success(bench: Bench, state: CommitmentState) -> None:
    status = {CommitmentState.SETTLED: 0x0110, CommitmentState.DEAD: 0x0115}[state]
    bench.requester.answers.append(status)
    with bench.associated() as assoc:
        ask(assoc)
        bench.decide()
        bench.hear()
        bench.wait_for(state=state, last_status=status)
    assert bench.rows()[0].sender is None


def test_one_that_is_released_at_once_leaves_the_report_to_another(bench: Bench) -> None:
    with bench.associated() as assoc:
        ask(assoc)
    bench.decide()
    with bench.ledger.read() as tx:
        (due,) = commitments.due(tx, time.time() + commitments.SAME_ASSOCIATION_SECONDS + 1)
    assert due.attempts == 0
    assert bench.requester.heard.empty()


def test_nothing_is_claimed_for_one_that_has_gone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease would have to run out (two minutes) before the report goes out on an association of ours."""
    with bench.associated() as assoc:
        ask(assoc)
    until(lambda: bench.entries(AssociationEnded), "the end in the spool")
    bench.decide()
    monkeypatch.setattr(commitment_dialogue, "QUIET_SECONDS", 0.0)
    accepted = Accepted(bench.rows()[0].association_id, AssociationRequest("SCANNER", "EGFR_DLS", "127.0.0.1"))
    channel = Channel(accepted, {}, lambda _: None, 0)
    channel.close()
    dialogue = CommitmentDialogue(CommitmentScp(bench.spool, 0), lambda: bench.ledger, LISTENER)
    context = Context(1, PUSH_MODEL_CLASS, EXPLICIT, Result.ACCEPTANCE, Roles(scu=True, scp=False))
    dialogue._await(context, channel)
    dialogue._look(bench.ledger)
    assert (bench.rows()[0].attempts, bench.rows()[0].sender) == (0, None)


def test_one_that_breaks_off_instead_of_answering_leaves_the_report_to_another_at_once(bench: Bench) -> None:
    with bench.associated(hears=False) as assoc:
        assoc.bind(
            evt.EVT_N_EVENT_REPORT, lambda event: assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR) or (0, None)
        )
        ask(assoc)
        bench.decide()
        bench.wait_for(state=CommitmentState.SETTLED, reason="NO_ANSWER", sender=None)
    with bench.ledger.read() as tx:
        assert len(commitments.due(tx, time.time())) == 1


def test_one_that_never_answers_leaves_it_to_another_after_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment_dialogue, "ANSWER_SECONDS", 0.3)
    hold, sent = threading.Event(), threading.Event()
    with bench.associated(hears=False) as assoc:
        assoc.bind(evt.EVT_N_EVENT_REPORT, lambda event: hold.wait(20) and (0, None))
        ask(assoc)
        assoc.bind(evt.EVT_PDU_SENT, lambda event: sent.set())
        bench.decide()
        bench.wait_for(state=CommitmentState.SETTLED, reason="NO_ANSWER", sender=None)
        hold.set()
        assert sent.wait(20)  # too late
    assert bench.rows()[0].state == CommitmentState.SETTLED


def test_what_another_process_claimed_is_not_sent_here_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench.associated() as assoc, monkeypatch.context() as never_quiet:
        never_quiet.setattr(commitment_dialogue, "QUIET_SECONDS", 3600)
        ask(assoc)
        bench.decide()
        with bench.ledger.begin() as tx:
            assert commitments.claim(tx, bench.rows()[0].id, "listener-other", time.time())
        ask(assoc, request(["1.2.3"], "1.2.9"))
        bench.decide()
        never_quiet.undo()
        assert bench.hear().transaction_uid == "1.2.9"
    assert bench.requester.heard.empty()


def test_ten_thousand_instances(bench: Bench) -> None:
    uids = [f"1.2.826.0.1.3680043.10.1.{n}" for n in range(10_000)]
    with bench.associated() as assoc:
        assert ask(assoc, request(uids)) == 0x0000
        bench.decide()
        assert bench.hear().failed == dict.fromkeys(uids, 0x0112)


def test_a_bad_request_has_its_status_and_the_association_goes_on(bench: Bench) -> None:
    with bench.associated() as assoc:
        assert ask(assoc, request([])) == 0x0115
        assert int(ready(assoc).send_n_action(None, 1, PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE)[0].Status) == 0x0115
        assert (
            int(ready(assoc).send_n_action(request(["1.2"]), 7, PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE)[0].Status)
            == 0x0123
        )
        assert ask(assoc) == 0x0000


def test_a_caller_that_wants_to_be_scp_only_is_one_that_reports_to_us(bench: Bench) -> None:
    ae = AE("SCANNER")
    ae.add_requested_context(PUSH_MODEL_CLASS)
    assoc = ae.associate(
        "127.0.0.1", bench.port, ae_title="EGFR_DLS", ext_neg=[build_role(PUSH_MODEL_CLASS, scp_role=True)]
    )
    (context,) = assoc.accepted_contexts
    assert (context.as_scu, context.as_scp) == (False, True)
    assoc.release()
