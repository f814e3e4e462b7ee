"""What is stored is proven: by the destination's report, else by a query, else a person is asked to look."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import structlog

from egfr_dls.study import StudyState
from reporting import prove
from reporting.proof_rules import ABSENCES, QUERIES, REPORT_SECONDS, SILENT_QUERIES, WANTED_ASKS
from tests.reporting.deliveries import Desk, desk, object_uid, prover
from tests.reporting.proving_pacs import proving_pacs

ROI, REPORT, PAGES = (object_uid(1, kind) for kind in ("roi", "report", "pages"))
EVERYTHING = ("roi", "pages", "report")


def prove_due(work: Desk) -> int:
    """Prove what is due now, in a new thread's place."""
    (destination,) = work.settings.destinations
    with work.store.ledger.changes() as changes:
        one = prover(work.settings, work.store, destination, "reporter-1", lambda: work.now)
        return one.prove_due(threading.Event(), changes)


def deliver(work: Desk) -> None:
    work.keep()
    assert work.send() == 3
    assert set(work.states().values()) == {"stored"}
    assert work.study_state() is StudyState.SCORED, "a proof is owed"


def all_are(state: str) -> dict[str, str]:
    return dict.fromkeys(EVERYTHING, state)


def test_report_on_the_association_that_asked_commits_every_object(tmp_path: Path) -> None:
    with (
        proving_pacs() as pacs,
        desk(tmp_path, pacs.port, storage_commitment=True) as work,
        structlog.testing.capture_logs() as events,
    ):
        deliver(work)
        assert prove_due(work) == 3
        assert sorted(pacs.asked[0]) == sorted([ROI, REPORT, PAGES])
        assert prove_due(work) == 1, "the report that was heard"
        assert work.states() == all_are("committed")
        assert pacs.heard == [0x0000]
        assert prove_due(work) == 0
    assert [e["event"] for e in events if e["event"].startswith("commitment")] == [
        "commitment_asked",
        "commitment_heard",
    ]
    assert pacs.queried == []


@pytest.mark.parametrize("wanted", [None, False])
def test_query_proves_where_the_site_wants_no_commitment(tmp_path: Path, wanted: bool | None) -> None:
    with proving_pacs() as pacs, desk(tmp_path, pacs.port, storage_commitment=wanted) as work:
        deliver(work)
        assert prove_due(work) == 3
        assert work.states() == all_are("verified")
        assert work.study_state() is StudyState.DELIVERED
        assert (pacs.asked, sorted(pacs.queried)) == ([], sorted([ROI, REPORT, PAGES]))


def test_destination_without_commitment_is_queried(tmp_path: Path) -> None:
    with proving_pacs(commits=False) as pacs, desk(tmp_path, pacs.port) as work:
        deliver(work)
        prove_due(work)
        assert work.states() == all_are("verified")


def test_destination_that_offers_no_proof_owes_none_unless_the_site_insists(tmp_path: Path) -> None:
    with proving_pacs(commits=False, finds=False) as pacs, desk(tmp_path / "a", pacs.port) as work:
        work.keep()
        work.send()
        assert work.study_state() is StudyState.DELIVERED
        assert prove_due(work) == 0
        assert work.states() == all_are("stored")
    with (
        proving_pacs(commits=False, finds=False) as pacs,
        desk(tmp_path / "b", pacs.port, storage_commitment=True) as work,
        structlog.testing.capture_logs() as events,
    ):
        deliver(work)
        prove_due(work)
        assert {(r.state, r.reason) for r in work.rows().values()} == {("stored", "NOT_PROVEN")}
    assert [e["log_level"] for e in events if e["event"] == "delivery_not_proven"] == ["error"] * 3


def test_report_that_never_comes_is_replaced_by_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "LINGER_SECONDS", 0.1)
    with proving_pacs() as pacs, desk(tmp_path, pacs.port, storage_commitment=True) as work:
        pacs.reports = False
        deliver(work)
        prove_due(work)
        assert work.states() == all_are("stored")
        assert prove_due(work) == 0, "the report is waited for"
        for seconds in REPORT_SECONDS:
            assert work.states() == all_are("stored")
            work.now += seconds + 1
            prove_due(work)
        assert work.states() == all_are("verified")
        assert len(pacs.asked) == WANTED_ASKS


def test_request_that_is_refused_is_replaced_by_a_query_at_once(tmp_path: Path) -> None:
    with proving_pacs() as pacs, desk(tmp_path, pacs.port, storage_commitment=True) as work:
        pacs.action_status = 0x0124  # not authorised
        deliver(work)
        prove_due(work)
        assert work.states() == all_are("verified")


def test_object_that_the_report_calls_absent_goes_again_and_then_to_a_person(tmp_path: Path) -> None:
    with proving_pacs() as pacs, desk(tmp_path, pacs.port, storage_commitment=True) as work:
        pacs.failures = {REPORT: 0x0112}
        deliver(work)
        for _ in range(ABSENCES):
            prove_due(work)
            prove_due(work)
            assert work.states()["report"] == "queued"
            work.send()
        prove_due(work)
        prove_due(work)
        rows = work.rows()
        assert (rows["report"].state, rows["report"].reason) == ("parked", "NOT_THERE")
        assert (rows["roi"].state, rows["pages"].state) == ("committed", "committed")


def test_object_that_no_query_finds_goes_again_after_three(tmp_path: Path) -> None:
    with proving_pacs(commits=False) as pacs, desk(tmp_path, pacs.port) as work:
        pacs.lost = {ROI}
        deliver(work)
        for _ in range(QUERIES):
            assert work.states()["roi"] == "stored"
            prove_due(work)
            work.now += 700
        assert work.states()["roi"] == "queued"
        pacs.lost = set()
        work.send()
        prove_due(work)
        assert work.states() == all_are("verified")


def test_query_without_an_answer_ends_with_a_person(tmp_path: Path) -> None:
    with proving_pacs(commits=False) as pacs, desk(tmp_path, pacs.port) as work:
        pacs.find_status, pacs.lost = 0xA700, {ROI, REPORT, PAGES}
        deliver(work)
        for _ in range(SILENT_QUERIES):
            prove_due(work)
            work.now += 700
        assert {(r.state, r.reason) for r in work.rows().values()} == {("stored", "NOT_PROVEN")}
        assert prove_due(work) == 0
