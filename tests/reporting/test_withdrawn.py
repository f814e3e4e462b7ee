"""A withdrawn result: its note is built of what was sent, goes where that went, and nothing of the result goes after it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import Dataset, dcmread
from sqlalchemy import select

from egfr_dls import job_loop, settings
from egfr_dls.delivery import DeliveryState
from egfr_dls.ledger import deliveries, jobs, proofs, results, withdrawals
from egfr_dls.ledger.schema import built_object
from egfr_dls.ledger.withdrawals import RejectedFor, Withdrawal
from egfr_dls.store import open_store
from reporting import stage
from reporting.register import Register
from reporting.stage import ReportHandler
from tests.builders import STUDY_UID
from tests.listener.nodes import until
from tests.reporting.deliveries import ScriptedPacs, desk, object_uid, scripted_pacs, study_uid
from tests.reporting.test_stage import AWAY, HERE, NOW, Bench, found
from tests.reporting.validators import ACCEPTED, ACCEPTED_BETWEEN, need, remarks

OLD = {**AWAY, "name": "old", "sr_class": "enhanced"}
AGAIN = replace(found(), inputs_sha256="99" * 32)  # the findings of a revision


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """A reporter with three destinations, of which one takes another class of report."""
    loaded = settings.load(
        None,
        {"storage": {"root": tmp_path}, "destinations": [HERE, AWAY, OLD], "reporting": {"pages": True, "pdf": True}},
    )
    with open_store(loaded, "listener") as store:
        yield Bench(store, loaded)


def arrive(bench: Bench, *destinations: str) -> None:
    """Let what waits be stored at these destinations."""
    with bench.store.ledger.begin() as tx:
        for row in deliveries.of_study(tx, STUDY_UID):
            if row.destination in destinations:
                deliveries.begin_attempt(tx, row.sop_instance_uid, row.destination, NOW)
                deliveries.settle(tx, row.sop_instance_uid, row.destination, DeliveryState.STORED)


def withdraw(bench: Bench, through: int) -> Withdrawal:
    """Withdraw as the command does, and have the notes built."""
    with bench.store.ledger.begin() as tx:
        made = withdrawals.withdraw(tx, STUDY_UID, through, RejectedFor.SAFETY, "Wrong lesion.", "Rita", NOW + 60)
        jobs.enqueue(tx, "report", f"withdrawal-{made.id}", STUDY_UID, {"withdrawal_id": made.id}, NOW)
    return made


def notes(bench: Bench) -> dict[str, Dataset]:
    """Return the note that is queued for each destination."""
    with bench.store.ledger.read() as tx:
        rows = [row for row in deliveries.of_study(tx, STUDY_UID) if row.kind == "rejection"]
        made = {r.sop_instance_uid: r.sha256 for r in tx.execute(select(built_object))}
    assert {row.state for row in rows} <= {"queued"}
    return {row.destination: dcmread(BytesIO(bench.store.objects.get(made[row.sop_instance_uid]))) for row in rows}


def named(note: Dataset) -> set[str]:
    """Return the objects that a note rejects."""
    series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    return {str(i.ReferencedSOPInstanceUID) for s in series for i in s.ReferencedSOPSequence}


def owed(bench: Bench, destination: str) -> set[str]:
    with bench.store.ledger.read() as tx:
        rows = deliveries.of_study(tx, STUDY_UID)
    return {row.sop_instance_uid for row in rows if row.destination == destination and row.kind != "rejection"}


def test_each_destination_gets_a_note_of_what_it_was_sent(bench: Bench) -> None:
    through = bench.findings(found())
    bench.report()
    arrive(bench, "here", "old")
    withdraw(bench, through)
    (said,) = [e for e in bench.report() if e["event"] == "rejection_notes_built"]
    assert said["count"] == 2
    made = notes(bench)
    assert sorted(made) == ["here", "old"], "away was sent nothing"
    for name, note in made.items():
        assert named(note) == owed(bench, name)
        assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
        assert note.StudyInstanceUID == STUDY_UID
        assert (note.InstanceNumber, note.Modality) == (1, "KO")


def test_destinations_that_have_the_same_share_one_note(bench: Bench) -> None:
    through = bench.findings(found())
    bench.report()
    arrive(bench, "here", "away")
    withdraw(bench, through)
    bench.report()
    made = notes(bench)
    assert made["here"].SOPInstanceUID == made["away"].SOPInstanceUID


def test_a_note_of_two_revisions_names_both_and_a_later_one_stands_in_its_series(bench: Bench) -> None:
    bench.findings(found())
    bench.report()
    second = bench.findings(AGAIN, "d2", NOW + 30)
    bench.report()
    arrive(bench, "here")
    withdraw(bench, second)
    bench.report()
    first_note = notes(bench)["here"]
    assert named(first_note) == owed(bench, "here")
    arrive(bench, "here")
    third = bench.findings(found(), "d3", NOW + 90)
    bench.report()
    arrive(bench, "here")
    withdraw(bench, third)
    bench.report()
    with bench.store.ledger.read() as tx:
        all_notes = [
            r for r in tx.execute(select(built_object).order_by(built_object.c.findings_id)) if r.kind == "rejection"
        ]
    later = dcmread(BytesIO(bench.store.objects.get(all_notes[-1].sha256)))
    assert (later.InstanceNumber, later.SeriesInstanceUID) == (2, first_note.SeriesInstanceUID)
    assert (later.SeriesDate, later.SeriesTime) == (first_note.SeriesDate, first_note.SeriesTime)
    assert named(later).isdisjoint(named(first_note))


def test_a_worker_that_was_killed_makes_the_same_note(bench: Bench) -> None:
    through = bench.findings(found())
    bench.report()
    arrive(bench, "here")
    withdraw(bench, through)
    handler = ReportHandler(bench.settings, bench.store, lambda: NOW)
    with bench.store.ledger.begin() as tx:
        job = jobs.claim(tx, "report", "w", NOW)
    assert job is not None
    handler.handle(job)  # its effect is lost with the worker
    before = {path.name for path in (bench.settings.storage.root / "objects").iterdir()}
    effect = handler.handle(job)
    assert {path.name for path in (bench.settings.storage.root / "objects").iterdir()} == before
    with bench.store.ledger.begin() as tx:
        effect(tx)
        effect(tx)
    assert list(notes(bench)) == ["here"]


def test_a_report_that_is_withdrawn_before_it_is_built_is_not_built(bench: Bench) -> None:
    through = bench.findings(found())
    with bench.store.ledger.begin() as tx:
        withdrawals.withdraw(tx, STUDY_UID, through, RejectedFor.QUALITY, "x", "y", NOW)
    bench.report()
    assert bench.objects(through) == {}


def test_pictures_that_are_drawn_while_their_report_is_withdrawn_do_not_go(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    through, draw = bench.findings(found()), stage.build_pictures

    def withdrawn_meanwhile(*arguments: Any) -> Any:
        with bench.store.ledger.begin() as tx:
            withdrawals.withdraw(tx, STUDY_UID, through, RejectedFor.QUALITY, "x", "y", NOW)
        return draw(*arguments)

    monkeypatch.setattr(stage, "build_pictures", withdrawn_meanwhile)
    bench.report()
    with bench.store.ledger.read() as tx:
        rows = deliveries.of_study(tx, STUDY_UID)
    assert {(row.kind, row.state) for row in rows} == {("roi", "withdrawn"), ("report", "withdrawn")}


def test_the_next_revision_follows_no_withdrawn_report_and_is_no_object_of_before(bench: Bench) -> None:
    """Findings that come back (an earlier network) may not come back under the UID that was rejected."""
    first = bench.findings(found())
    bench.report()
    arrive(bench, "here")
    withdraw(bench, first)
    bench.report()
    again = bench.findings(found(), "d2", NOW + 90)
    bench.report()
    report = bench.objects(again)["report"]
    assert "PredecessorDocumentsSequence" not in report
    assert report.InstanceNumber == 2
    assert {ds.SOPInstanceUID for ds in bench.objects(again).values()}.isdisjoint(
        {ds.SOPInstanceUID for ds in bench.objects(first).values()}
    )
    third = bench.findings(AGAIN, "d3", NOW + 120)
    bench.report()
    (before,) = bench.objects(third)["report"].PredecessorDocumentsSequence
    uid = before.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert uid == report.SOPInstanceUID


def test_kept_bytes_that_are_gone_are_waited_for(bench: Bench) -> None:
    through = bench.findings(found())
    bench.report()
    arrive(bench, "here")
    withdraw(bench, through)
    for path in (bench.settings.storage.root / "objects").iterdir():
        path.unlink()
    with structlog.testing.capture_logs() as events:
        job_loop.run_one(bench.store.ledger, ReportHandler(bench.settings, bench.store), "w", lambda: NOW)
    assert "job_postponed" in {e["event"] for e in events}


@pytest.mark.dicom3tools
@pytest.mark.dcmtk
def test_validators_and_dsrdump_read_the_note_beside_what_it_rejects(bench: Bench, tmp_path: Path) -> None:
    through = bench.findings(found())
    bench.report()
    arrive(bench, "here")
    withdraw(bench, through)
    bench.report()
    paths: Mapping[str, Path] = {}
    for kind, ds in {**bench.objects(through), "rejection": notes(bench)["here"]}.items():
        paths = {**paths, kind: tmp_path / f"{kind}.dcm"}
        ds.save_as(paths[kind], enforce_file_format=True)
    found_faults = remarks(need("dciodvfy"), paths["rejection"])
    assert [line for line in found_faults if not any(known in line for known in ACCEPTED)] == []
    assert [x for x in remarks(need("dcentvfy"), *paths.values()) if ACCEPTED_BETWEEN not in x] == []
    dumped = subprocess.run([need("dsrdump"), "+Pt", paths["rejection"]], capture_output=True, text=True, check=True)
    for words in ("Rejected for Patient Safety Reasons", "Wrong lesion.", "Rita"):
        assert words in dumped.stdout


# while it is sent and proven


def withdraw_first(work: Any) -> None:
    with work.store.ledger.begin() as tx:
        newest = results.newest(tx, study_uid(1))
        assert newest is not None
        withdrawals.withdraw(tx, study_uid(1), newest.id, RejectedFor.QUALITY, "x", "y", work.now)


def test_withdrawn_while_a_request_is_out_ends_there_and_is_named(tmp_path: Path) -> None:
    """The PACS answers 0000H to what was withdrawn meanwhile: it has it, so the note goes there."""
    gate = threading.Semaphore(0)
    with scripted_pacs(ScriptedPacs(stores=gate)) as pacs, desk(tmp_path, pacs.port) as work:
        work.keep()
        sending = threading.Thread(target=work.send)
        sending.start()
        until(lambda: work.states()["roi"] == "sent", "the request is out")
        withdraw_first(work)
        gate.release(9)
        sending.join()
        assert pacs.uids() == [object_uid(1, "roi")], "what was behind it did not go"
        assert set(work.states().values()) == {"withdrawn"}
        with work.store.ledger.read() as tx:
            (sent,) = withdrawals.sent(tx, withdrawals.by_id(tx, 1)).values()
        assert [one.sop_instance_uid for one in sent] == [object_uid(1, "roi")]


def test_what_is_withdrawn_and_not_there_after_all_is_not_sent_again(tmp_path: Path) -> None:
    with scripted_pacs() as pacs, desk(tmp_path, pacs.port, storage_commitment=True) as work:
        work.keep(kinds=("report",))
        work.send()
        with work.store.ledger.read() as tx:
            (one,) = proofs.due(tx, "pacs", work.now)
        withdraw_first(work)
        register = Register(work.settings, work.store, work.settings.destinations[0], "w", lambda: work.now)
        register.prove(one, DeliveryState.QUEUED, "NOT_THERE")
        assert work.states() == {"report": "withdrawn"}
        assert work.send() == 0


def test_a_note_that_a_destination_does_not_take_needs_a_person(tmp_path: Path) -> None:
    """The wrong result stays there and nobody was told: an optional object may be left out, this may not."""
    with scripted_pacs(classes=("roi", "pages", "report")) as pacs, desk(tmp_path, pacs.port) as work:
        work.keep(kinds=("rejection",))
        work.send()
        assert work.rows()["rejection"].reason == "SOP_CLASS_NOT_ACCEPTED"
        assert work.states() == {"rejection": "parked"}
