"""Delivery against a PACS on loopback that answers by a script: each object ends where its answers lead, with its own bytes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.acse import ACSE
from pynetdicom.association import Association

from egfr_dls.delivery import DEMONSTRATION, DeliveryState
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import deliveries, destinations, jobs, studies
from egfr_dls.study import StudyState
from reporting import destination_loop
from reporting.delivery_status import GIVE_UP_SECONDS
from reporting.dimse import StoringAssociation
from reporting.probing import PROBE_CAP_SECONDS, PROBE_FIRST_SECONDS
from reporting.register import LEASE_SECONDS
from reporting.send import Sender
from reporting.stage import is_loopback
from reporting.transport import Answered
from tests.listener.nodes import until
from tests.reporting.deliveries import (
    ABORT,
    START,
    Desk,
    ScriptedPacs,
    desk,
    kept_data_set,
    object_dataset,
    object_uid,
    scripted_pacs,
    study_uid,
)
from tests.reporting.test_delivery_status import TABLE

ROI, PAGES, REPORT = (object_uid(1, kind) for kind in ("roi", "pages", "report"))
ALL_STORED = {"roi": "stored", "pages": "stored", "report": "stored"}


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    """A PACS that takes everything."""
    with scripted_pacs() as running:
        yield running


@pytest.fixture
def work(tmp_path: Path, pacs: ScriptedPacs) -> Iterator[Desk]:
    """A store with one study's objects due at that PACS."""
    with desk(tmp_path / "store", pacs.port) as opened:
        opened.keep()
        yield opened


def pass_time(work: Desk, sender: Sender, rounds: int, seconds: float = 4000) -> None:
    """Let the sender try again after each wait."""
    for _ in range(rounds):
        work.send(sender)
        work.now += seconds


# what arrives


def test_objects_go_in_order_in_one_association_and_the_study_is_delivered(work: Desk, pacs: ScriptedPacs) -> None:
    assert work.send() == 3
    assert pacs.uids() == [ROI, REPORT, PAGES]
    assert pacs.associations == 1
    assert work.states() == ALL_STORED
    assert work.study_state() is StudyState.DELIVERED
    assert work.send() == 0
    assert pacs.associations == 1  # nothing due: nobody is called


def test_bytes_at_the_pacs_are_the_kept_ones(work: Desk, pacs: ScriptedPacs) -> None:
    work.send()
    assert dict(pacs.received) == {object_uid(1, k): kept_data_set(work, 1, k) for k in ("roi", "pages", "report")}


def test_peer_with_implicit_vr_only_gets_the_same_elements(tmp_path: Path) -> None:
    with scripted_pacs(syntaxes=(ImplicitVRLittleEndian,)) as pacs, desk(tmp_path, pacs.port) as work:
        work.keep()
        assert work.send() == 3
        assert work.states() == ALL_STORED
        received = dcmread(BytesIO(dict(pacs.received)[REPORT]), force=True)
        assert {e.tag: e.value for e in received} == {e.tag: e.value for e in object_dataset(1, "report")}


def test_peer_that_prefers_implicit_vr_but_takes_explicit_gets_the_kept_bytes(tmp_path: Path) -> None:
    """Of two transfer syntaxes in one presentation context the peer picks (PS3.8 9.3.3.2): each is proposed in its own."""
    preferred = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    with scripted_pacs(syntaxes=preferred) as pacs, desk(tmp_path, pacs.port) as work:
        work.keep()
        assert work.send() == 3
        assert dict(pacs.received) == {object_uid(1, k): kept_data_set(work, 1, k) for k in ("roi", "pages", "report")}


@given(
    script=st.lists(st.sampled_from([0x0000, 0xA700, 0x0110, 0xB000, 0xC000, 0x0111, ABORT]), max_size=6),
    kind=st.sampled_from(["roi", "pages", "report"]),
)
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_answers_every_copy_has_the_kept_bytes(
    tmp_path_factory: pytest.TempPathFactory, pacs: ScriptedPacs, script: list[int], kind: str
) -> None:
    pacs.received.clear()
    pacs.answers = {object_uid(1, kind): list(script)}
    with desk(tmp_path_factory.mktemp("store"), pacs.port) as work:
        work.keep()
        pass_time(work, work.sender(), 9)
        assert set(pacs.received) <= {(object_uid(1, k), kept_data_set(work, 1, k)) for k in ALL_STORED}
        assert work.states()[kind] in ("stored", "parked")
        assert (work.study_state() is StudyState.DELIVERED) is (work.states()["report"] == "stored")


# one answer, one row


@pytest.mark.parametrize(("status", "outcome", "reason", "tries"), TABLE)
def test_answer_leads_where_its_row_says(
    work: Desk, pacs: ScriptedPacs, status: int, outcome: object, reason: str, tries: int | None
) -> None:
    pacs.answers[PAGES] = [status] * 40
    work.send()
    row = work.rows()["pages"]
    ends = {"STORED": "stored", "PARK": "parked", "OTHER_CLASS": "parked", "RETRY": "queued"}  # no other class of pages
    expected = ends[outcome.name]  # type: ignore[attr-defined]
    assert (row.state, row.last_status, row.reason, row.attempts) == (expected, status, reason, 1)
    if expected == "queued":
        assert 27 <= row.due_at - START <= 33  # 30 s and its jitter
        work.now += 4000
        pass_time(work, work.sender(), 8)
        row = work.rows()["pages"]
        assert (row.state, row.attempts) == (("queued", 9) if tries is None else ("parked", tries))
    assert work.states()["report"] == "stored"  # which does not point at the pages


def test_tries_are_counted_per_answer(work: Desk, pacs: ScriptedPacs) -> None:
    pacs.answers[PAGES] = [0xA700] * 6 + [0x0110] * 4 + [0xC000, 0xC000, 0x0110]
    pass_time(work, work.sender(), 14)
    assert work.states()["pages"] == "stored"


def test_abort_in_the_middle_queues_again_and_sends_the_same_bytes(work: Desk, pacs: ScriptedPacs) -> None:
    pacs.answers[REPORT] = [ABORT]
    work.send()
    rows = work.rows()
    assert (rows["roi"].state, rows["report"].state, rows["report"].reason) == ("stored", "queued", "NO_ANSWER")
    assert (rows["pages"].state, rows["pages"].attempts) == ("queued", 0)
    work.now += 40
    work.send()
    assert work.states() == ALL_STORED
    assert dict(pacs.received)[REPORT] == kept_data_set(work, 1, "report")


def test_report_waits_for_its_seg_and_for_nothing_else(work: Desk, pacs: ScriptedPacs) -> None:
    pacs.answers[ROI] = [0xA700]
    work.send()
    assert work.states() == {"roi": "queued", "pages": "stored", "report": "queued"}
    assert work.send() == 0
    assert pacs.associations == 1  # the waiting report opens none
    work.now += 40
    work.send()
    assert pacs.uids() == [PAGES, ROI, REPORT]


def test_reports_whose_seg_is_parked_hold_nobody_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "due", partial(deliveries.due, limit=4))
    with scripted_pacs() as pacs, desk(tmp_path, pacs.port) as work:
        pacs.answers = {object_uid(n, "roi"): [0x0124] for n in range(1, 7)}
        for number in range(1, 7):
            work.keep(number, ("roi", "report"))
        work.keep(99)
        pass_time(work, work.sender(), 6)
        assert work.states(1) == {"roi": "parked", "report": "queued"}
        assert work.states(99) == ALL_STORED


def test_optional_class_that_is_not_taken_does_not_hold_the_study_back(tmp_path: Path) -> None:
    with scripted_pacs(classes=("roi", "report")) as pacs, desk(tmp_path, pacs.port) as work:
        work.keep()
        work.send()
        assert work.states() == {"roi": "stored", "pages": "not_accepted", "report": "stored"}
        assert work.study_state() is StudyState.DELIVERED


def test_report_class_that_is_not_taken_is_parked(tmp_path: Path) -> None:
    with scripted_pacs(classes=("roi", "pages")) as pacs, desk(tmp_path, pacs.port) as work:
        work.keep()
        with structlog.testing.capture_logs() as events:
            work.send()
        assert work.states() == {"roi": "stored", "pages": "stored", "report": "parked"}
        assert work.rows()["report"].reason == "SOP_CLASS_NOT_ACCEPTED"
        assert work.study_state() is StudyState.SCORED
        assert [e["event"] for e in events if e["log_level"] == "error"] == ["delivery_parked"]


def test_after_a_day_of_tries_an_object_is_dead_and_retry_sends_it(work: Desk, pacs: ScriptedPacs) -> None:
    pacs.answers[REPORT] = [0xA700] * 24
    sender = work.sender()
    work.send(sender)
    work.now += GIVE_UP_SECONDS
    work.send(sender)
    assert (work.states()["report"], work.rows()["report"].reason) == ("dead", "GAVE_UP")
    assert work.study_state() is StudyState.SCORED
    pacs.answers.clear()
    with work.store.ledger.begin() as tx:
        assert deliveries.revive(tx, study_uid(1), work.now, demonstrations=False) == 1
    work.send(sender)
    assert work.states() == ALL_STORED
    assert work.study_state() is StudyState.DELIVERED


def test_what_stood_still_for_a_day_is_tried_before_it_is_given_up(work: Desk, pacs: ScriptedPacs) -> None:
    """A node that was off for the weekend, or a study on hold: the PACS has refused nothing since."""
    pacs.answers[REPORT] = [0xA700]
    work.send()
    work.now += 3 * GIVE_UP_SECONDS
    work.send()
    assert work.states() == ALL_STORED


def test_retry_of_one_study_loses_no_result_of_the_others(work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The destination was parked for two days; the PACS answers, but is full at first."""
    work.keep(2)
    reject(monkeypatch, 1, 1, 7)
    sender = work.sender()
    work.send(sender)
    work.now += 2 * GIVE_UP_SECONDS
    with work.store.ledger.begin() as tx:
        deliveries.revive(tx, study_uid(1), work.now, demonstrations=False)
    reject(monkeypatch, 2, 3, 2)
    work.send(sender)
    assert {*work.states(1).values(), *work.states(2).values()} == {"queued"}
    monkeypatch.undo()
    work.now += 11
    work.send(sender)
    assert work.states(1) == work.states(2) == ALL_STORED


@pytest.mark.parametrize(
    ("answers", "later", "end"), [([0x0124], 0.0, "parked"), ([0xA700] * 2, GIVE_UP_SECONDS, "dead")]
)
def test_report_that_its_seg_holds_back_is_an_error_told_once(
    work: Desk, pacs: ScriptedPacs, answers: list[int], later: float, end: str
) -> None:
    pacs.answers[ROI] = list(answers)
    with structlog.testing.capture_logs() as events:
        work.send()
        work.now += later
        pass_time(work, work.sender(), 3)
    assert work.states() == {"roi": end, "pages": "stored", "report": "queued"}
    told = [(e["event"], e["reason"]) for e in events if e["log_level"] == "error"]
    reason = work.rows()["roi"].reason
    assert told == [(f"delivery_{end}", reason), ("report_held_back", reason)]


def test_a_pdf_waits_for_the_report_that_it_points_at(tmp_path: Path) -> None:
    """Its Source Instance Sequence names the report: it never lies in a PACS where that does not."""
    with scripted_pacs() as pacs, desk(tmp_path, pacs.port) as work:
        work.keep(kinds=("report", "pdf", "pages"))
        pdf = object_uid(1, "pdf")
        pacs.answers[REPORT] = [0xA700]
        work.send()
        assert work.states() == {"report": "queued", "pages": "stored", "pdf": "queued"}
        with work.store.ledger.read() as tx:
            assert deliveries.due(tx, "pacs", work.now) == [], "it keeps no place from others"
        work.now += 40
        work.send()
        assert pacs.uids() == [PAGES, REPORT, pdf]
        assert set(work.states().values()) == {"stored"}


def test_a_pdf_of_a_report_that_is_parked_is_not_sent(tmp_path: Path) -> None:
    with scripted_pacs(classes=("pages", "pdf")) as pacs, desk(tmp_path, pacs.port) as work:
        work.keep(kinds=("report", "pdf", "pages"))
        work.send()
        work.send()
        assert work.states() == {"report": "parked", "pages": "stored", "pdf": "queued"}
        assert pacs.uids() == [PAGES]


def test_seg_class_that_is_taken_no_more_has_the_report_built_without_it(tmp_path: Path) -> None:
    """The remedy of `operate.md` for a PACS that will never take the SEG."""
    with scripted_pacs() as pacs, desk(tmp_path, pacs.port) as work:
        pacs.answers[ROI] = [0x0124]
        work.keep()
        work.send()
        assert work.states()["report"] == "queued"
        port = pacs.port
    with scripted_pacs(ScriptedPacs(port), classes=("pages", "report")), desk(tmp_path, port) as work:
        with work.store.ledger.begin() as tx:
            deliveries.revive(tx, study_uid(1), work.now, demonstrations=False)
        work.send()
        assert work.states() == {
            "pages": "stored"
        }  # SEG and report are taken back, and nothing points at what is not there
        with work.store.ledger.begin() as tx:
            job = jobs.claim(tx, "report", "reporter-1", work.now)
        assert job is not None
        assert job.study_instance_uid == study_uid(1)


def test_the_log_tells_only_what_was_written_with_the_attempts_made(tmp_path: Path) -> None:
    with scripted_pacs(classes=("pages",)) as pacs, desk(tmp_path, pacs.port) as work:
        work.keep()
        with work.store.ledger.begin() as tx:
            deliveries.settle(tx, PAGES, "pacs", DeliveryState.PARKED)
        sender = work.sender()
        with work.store.ledger.begin() as tx:
            deliveries.revive(tx, study_uid(1), work.now, demonstrations=False)
            (pages,) = [d for d in deliveries.due(tx, "pacs", work.now) if d.kind == "pages"]
        with structlog.testing.capture_logs() as events:
            work.send(sender)
            sender._register.settle(pages, DeliveryState.QUEUED, reason="NO_ANSWER")  # stored by now
        assert [(e["event"], e["kind"], e["attempts"]) for e in events] == [
            ("delivery_not_accepted", "roi", 0),
            ("delivery_parked", "report", 0),
            ("delivery_stored", "pages", 1),
        ]


def test_held_study_is_not_sent(work: Desk, pacs: ScriptedPacs) -> None:
    with work.store.ledger.begin() as tx:
        studies.hold(tx, study_uid(1), held=True)
    assert work.send() == 0
    assert pacs.associations == 0


# a destination that cannot be reached


def reject(monkeypatch: pytest.MonkeyPatch, result: int, source: int, reason: int) -> None:
    """Make the PACS reject every association with this triple (PS3.8 table 9-21)."""

    def negotiate(acse: ACSE) -> None:
        acse.send_reject(result, source, reason)
        acse.assoc.kill()

    monkeypatch.setattr(ACSE, "_negotiate_as_acceptor", negotiate)


@pytest.mark.parametrize(
    ("triple", "reason"),
    [
        ((1, 1, 2), "APPLICATION_CONTEXT_NOT_SUPPORTED"),
        ((1, 1, 3), "CALLING_AE_TITLE_NOT_RECOGNISED"),
        ((1, 1, 7), "CALLED_AE_TITLE_NOT_RECOGNISED"),
        ((1, 2, 2), "PROTOCOL_VERSION_NOT_SUPPORTED"),
    ],
)
def test_permanent_rejection_parks_the_destination(
    work: Desk, pacs: ScriptedPacs, monkeypatch: pytest.MonkeyPatch, triple: tuple[int, int, int], reason: str
) -> None:
    reject(monkeypatch, *triple)
    sender = work.sender()
    with structlog.testing.capture_logs() as events:
        assert work.send(sender) == 0
    assert work.parked() == reason
    assert ("destination_parked", "error") in [(e["event"], e["log_level"]) for e in events]
    monkeypatch.undo()
    pass_time(work, sender, 3)
    assert pacs.uids() == []  # until a person has looked
    with work.store.ledger.begin() as tx:
        deliveries.revive(tx, study_uid(1), work.now, demonstrations=False)
    work.send(sender)
    assert work.states() == ALL_STORED


@pytest.mark.parametrize("triple", [(2, 3, 1), (2, 3, 2), (2, 1, 1)])
def test_transient_rejection_is_tried_again(
    work: Desk, monkeypatch: pytest.MonkeyPatch, triple: tuple[int, int, int]
) -> None:
    reject(monkeypatch, *triple)
    sender = work.sender()
    pass_time(work, sender, 5, seconds=11)
    assert work.parked() == ""
    assert {(r.state, r.attempts, r.reason) for r in work.rows().values()} == {("queued", 0, "ASSOCIATION_REJECTED")}
    monkeypatch.undo()
    work.send(sender)
    assert work.states() == ALL_STORED


def test_permanent_rejection_without_a_reason_parks_after_three(work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reject(monkeypatch, 1, 1, 1)
    sender = work.sender()
    pass_time(work, sender, 2, seconds=11)
    assert work.parked() == ""
    work.send(sender)
    assert work.parked() == "REJECTED_WITHOUT_REASON"


# pynetdicom drops the socket of a refused connection without closing it (transport.py, AssociationSocket.connect).
refused = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def closed_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@refused
def test_unreachable_destination_is_probed_within_ten_seconds_and_nothing_is_counted(tmp_path: Path) -> None:
    port = closed_port()
    with desk(tmp_path, port) as work:
        work.keep()
        sender, waits = work.sender(), []
        for _ in range(8):
            assert work.send(sender) == 0
            waits.append(sender._probing.at - work.now)
            assert work.send(sender) == 0  # too early: it is not called again
            work.now = sender._probing.at
        assert all(0 < wait <= PROBE_CAP_SECONDS for wait in waits)
        assert waits[0] <= 1
        assert waits[-1] >= 8
        rows = work.rows().values()
        assert {(r.state, r.attempts, r.reason, r.first_try_at) for r in rows} == {("queued", 0, "UNREACHABLE", START)}
        with scripted_pacs(ScriptedPacs(port)):
            assert work.send(sender) == 3
        assert work.states() == ALL_STORED


def test_name_that_does_not_resolve_is_unreachable(tmp_path: Path) -> None:
    with desk(tmp_path, 104, host="no-such-host.invalid") as work:
        work.keep()
        assert work.send() == 0
        assert {(r.state, r.reason) for r in work.rows().values()} == {("queued", "NAME_NOT_RESOLVED")}


@refused
def test_dead_destination_does_not_hold_the_other_one_back(tmp_path: Path) -> None:
    with scripted_pacs() as pacs, desk(tmp_path, closed_port(), pacs.port) as work:
        work.keep()
        work.send(work.sender("pacs"))
        work.send(work.sender("second"))
        assert set(work.states(destination="pacs").values()) == {"queued"}
        assert work.states(destination="second") == ALL_STORED
        assert work.study_state() is StudyState.SCORED  # both are required


def test_demonstration_results_stay_and_retry_does_not_free_them(tmp_path: Path) -> None:
    with scripted_pacs() as pacs, desk(tmp_path, pacs.port) as work:
        work.keep(parked=DEMONSTRATION)
        with work.store.ledger.begin() as tx:
            assert deliveries.revive(tx, study_uid(1), work.now, demonstrations=False) == 0
        assert work.send() == 0
        assert pacs.associations == 0
        with work.store.ledger.begin() as tx:
            assert deliveries.revive(tx, study_uid(1), work.now, demonstrations=True) == 3
        assert work.send() == 3


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("pacs", False),
        ("192.0.2.1", False),
    ],
)
def test_loopback_is_judged_as_written(host: str, ours: bool) -> None:
    assert is_loopback(host) is ours


# one sender a destination


def test_second_reporter_does_not_send_in_parallel(work: Desk, pacs: ScriptedPacs) -> None:
    pacs.stores = threading.Semaphore(0)
    first = threading.Thread(target=work.send, args=(work.sender(worker="a"),))
    first.start()
    try:
        until(lambda: pacs.associations == 1, "first association")
        assert work.send(work.sender(worker="b")) == 0
        assert pacs.associations == 1
    finally:
        pacs.stores.release(10)
        first.join()
    assert work.states() == ALL_STORED
    assert len(pacs.received) == 3


class LateRiser(threading.Event):
    """What pynetdicom's reader waits for: by the time it goes on, a short answer has come."""

    def wait(self, timeout: float | None = None) -> bool:
        risen = super().wait(timeout)
        time.sleep(0.05)
        return risen


def test_no_answer_is_lost_to_pynetdicoms_own_reader(
    work: Desk, pacs: ScriptedPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the sender may wait for its answer later than that comes; nobody else may take it meanwhile."""
    monkeypatch.setattr("reporting.association.ANSWER_SECONDS", 1.0)
    sender = work.sender()
    original = sender._transport.call

    def opened(due: Any) -> Any:
        line: Any = original(due)
        assoc = line._assoc
        assoc._reactor_checkpoint.__class__ = LateRiser
        get_msg = assoc.dimse.get_msg

        def late(block: bool = False) -> Any:
            time.sleep(0.2 if block else 0.0)
            return get_msg(block)

        assoc.dimse.get_msg = late
        return line

    monkeypatch.setattr(sender._transport, "call", opened)
    assert work.send(sender) == 3
    assert work.states() == ALL_STORED


def test_lease_is_renewed_before_each_object(work: Desk, pacs: ScriptedPacs, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = work.sender(worker="a")
    original = StoringAssociation.store

    def slow(line: StoringAssociation, due: Any, path: Path) -> Answered:
        work.now += LEASE_SECONDS * 0.9
        assert work.send(work.sender(worker="b")) == 0
        return original(line, due, path)

    monkeypatch.setattr(StoringAssociation, "store", slow)
    assert work.send(sender) == 3
    assert len(pacs.received) == 3


def test_sender_that_lost_its_lease_sends_nothing_more(
    work: Desk, pacs: ScriptedPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = work.sender(worker="a")
    original = StoringAssociation.store

    def stuck(line: StoringAssociation, due: Any, path: Path) -> Answered:
        answered = original(line, due, path)
        work.now += LEASE_SECONDS + 1
        with work.store.ledger.begin() as tx:
            assert destinations.claim(tx, "pacs", "b", work.now, LEASE_SECONDS) == ""
        return answered

    monkeypatch.setattr(StoringAssociation, "store", stuck)
    assert work.send(sender) == 1
    assert pacs.uids() == [ROI]


def test_sender_of_the_same_name_resumes_at_once(work: Desk, pacs: ScriptedPacs) -> None:
    """The supervisor starts the next reporter under the name of the one that was killed."""
    with work.store.ledger.begin() as tx:
        destinations.claim(tx, "pacs", "reporter-1", work.now, LEASE_SECONDS)
        deliveries.begin_attempt(tx, ROI, "pacs", work.now)  # and then SIGKILL
    assert work.states()["roi"] == "sent"
    assert work.send(work.sender(worker="reporter-1")) == 3
    assert pacs.uids() == [ROI, REPORT, PAGES]


def test_stopped_sender_gives_its_lease_back(work: Desk) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=work.sender(worker="a").run, args=(stop,))
    thread.start()
    until(lambda: work.states() == ALL_STORED, "delivered")
    stop.set()
    thread.join()
    with work.store.ledger.begin() as tx:
        assert destinations.claim(tx, "pacs", "b", work.now, 1.0) == ""


def test_sender_is_woken_by_what_is_queued(work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reporting.probing.POLL_SECONDS", 3600.0)
    stop, sender, idle = threading.Event(), work.sender(), threading.Event()
    original = sender._probing.pause

    def pause() -> float:
        idle.set()
        return original()

    monkeypatch.setattr(sender._probing, "pause", pause)
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    try:
        until(lambda: work.states() == ALL_STORED and idle.is_set(), "idle")
        work.keep(2)
        until(lambda: work.states(2) == ALL_STORED, "delivered")
    finally:
        stop.set()
        thread.join()


def test_looking_in_vain_writes_nothing(work: Desk) -> None:
    """Each write wakes every sender: one that wrote when it looks would wake itself for ever."""
    other = work.sender(worker="other")
    with work.store.ledger.begin() as tx:
        destinations.claim(tx, "pacs", "reporter-1", work.now, 1e9)
    with work.store.ledger.changes() as changes:
        assert work.send(other) == 0  # the lease is another's
        assert changes._version() == changes._seen
        with work.store.ledger.begin() as tx:
            destinations.park(tx, "pacs", "CALLING_AE_TITLE")
        changes.wait(threading.Event(), 3600.0)
        assert work.send() == 0
        assert changes._version() == changes._seen


def test_association_lost_before_the_first_request_is_not_opened_again_at_once(
    work: Desk, pacs: ScriptedPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = work.sender()
    monkeypatch.setattr(sender, "_send_one", lambda *_arguments: 0)
    assert [work.send(sender), work.send(sender), pacs.associations] == [0, 0, 1]
    work.now += PROBE_FIRST_SECONDS
    work.send(sender)
    assert pacs.associations == 2


def test_requests_leave_without_waiting_for_an_acknowledgement(work: Desk) -> None:
    with work.store.ledger.read() as tx:
        line: Any = work.sender()._transport.call(deliveries.due(tx, "pacs", work.now))
    opened = line._assoc
    assert isinstance(opened, Association)
    assert opened.dul.socket is not None
    assert opened.dul.socket.socket is not None
    assert opened.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    opened.release()


def test_disk_that_fails_in_the_middle_of_an_object_costs_the_association(
    work: Desk, pacs: ScriptedPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Association.send_c_store

    def fails(assoc: Association, content: Path) -> object:
        if dcmread(content).SOPInstanceUID == REPORT:
            raise OSError(5, "Input/output error")
        return original(assoc, content)

    with monkeypatch.context() as patch:
        patch.setattr(Association, "send_c_store", fails)
        assert work.send() == 2
    rows = work.rows()
    assert (rows["report"].state, rows["report"].reason) == ("queued", "BYTES_UNREADABLE")
    assert (rows["pages"].state, rows["pages"].attempts) == ("queued", 0)
    work.now += 40
    work.send()
    assert work.states() == ALL_STORED


def test_defect_and_ledger_trouble_never_end_a_destination(work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, stop = work.sender(), threading.Event()
    troubles: list[Exception] = [TemporaryFailureError("locked"), ValueError("DOE^JOHN")]
    original = sender.send_due

    def flaky(stop: threading.Event) -> int:
        if troubles:
            raise troubles.pop(0)
        return original(stop)

    monkeypatch.setattr(sender, "send_due", flaky)
    monkeypatch.setattr(destination_loop, "PROBE_CAP_SECONDS", 0.01)
    with structlog.testing.capture_logs() as events:
        thread = threading.Thread(target=sender.run, args=(stop,))
        thread.start()
        until(lambda: work.states() == ALL_STORED, "delivered")
        stop.set()
        thread.join()
    assert [e["event"] for e in events][:2] == ["ledger_unavailable", "sending_failed"]
    assert "DOE" not in str(events)


def test_bytes_that_cannot_be_read_are_tried_again(work: Desk, pacs: ScriptedPacs) -> None:
    data = kept_data_set(work, 1, "pages")
    row = work.rows()["pages"]
    with work.store.ledger.read() as tx:
        due = {d.kind: d for d in deliveries.due(tx, "pacs", work.now)}
    path = work.store.objects.path(due["pages"].sha256)
    aside = path.rename(path.with_name("aside"))
    work.send()
    assert (work.rows()["pages"].state, work.rows()["pages"].reason) == ("queued", "BYTES_UNREADABLE")
    assert work.states()["report"] == "stored"
    aside.rename(path)
    work.now += 40
    work.send()
    assert dict(pacs.received)[row.sop_instance_uid] == data


def test_association_that_ended_between_two_objects_is_no_answer(work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_arguments: object) -> None:
        raise RuntimeError("The association with a peer SCP must be established before sending a C-STORE request")

    monkeypatch.setattr(Association, "send_c_store", gone)
    work.send()
    assert {r.reason for r in work.rows().values() if r.attempts} == {"NO_ANSWER"}
