"""One sender a destination: its lease, what wakes it, and what ends nothing."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import dcmread
from pynetdicom.association import Association

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import deliveries, destinations
from reporting import destination_loop
from reporting.dimse import StoringAssociation
from reporting.probing import PROBE_FIRST_SECONDS
from reporting.register import LEASE_SECONDS
from reporting.transport import Answered
from tests.listener.nodes import until
from tests.reporting.deliveries import (
    Desk,
    ScriptedPacs,
    kept_data_set,
    object_uid,
)

ROI, PAGES, REPORT = (object_uid(1, kind) for kind in ("roi", "pages", "report"))
ALL_STORED = {"roi": "stored", "pages": "stored", "report": "stored"}


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
