"""Delivery against a PACS on loopback that answers by a script: each object ends where its answers lead, with its own bytes."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from egfr_dls.delivery import DeliveryState
from egfr_dls.ledger import deliveries, jobs, studies
from egfr_dls.study import StudyState
from reporting.delivery_status import GIVE_UP_SECONDS
from tests.reporting.deliveries import (
    ABORT,
    START,
    Desk,
    ScriptedPacs,
    desk,
    kept_data_set,
    object_dataset,
    object_uid,
    pass_time,
    reject,
    scripted_pacs,
    study_uid,
)
from tests.reporting.test_delivery_status import TABLE

ROI, PAGES, REPORT = (object_uid(1, kind) for kind in ("roi", "pages", "report"))
ALL_STORED = {"roi": "stored", "pages": "stored", "report": "stored"}


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
