"""The reporting stage: findings in the ledger become kept bytes and deliveries, once; a revision refers to the one before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage
from sqlalchemy import select

from egfr_dls import job_loop, settings
from egfr_dls.errors import ConfigurationError
from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import acceptance, arrivals, deliveries, jobs, results, studies
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.ledger.schema import built_object
from egfr_dls.refusals import Remark
from egfr_dls.store import Store, open_store
from egfr_dls.study import ReceivedInstance, StudyState
from reporting import stage as reporting_stage
from reporting.context import ReportContext
from reporting.secondary_capture import page_images
from reporting.stage import DEMONSTRATION, ReportHandler
from reporting.variants import PROBED_CLASSES, SR_CLASSES
from tests.builders import STUDY_UID, ct_slices, pet_slices, to_part10
from tests.listener.nodes import until
from tests.reporting.deliveries import scripted_pacs
from tests.reporting.report_cases import scored

NOW = 1_700_000_000.0
HERE = {"name": "here", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
AWAY = {"name": "away", "ae_title": "PACS", "host": "192.0.2.1", "port": 104}


class Bench:
    """A store that holds the received images, and what the handler makes of findings."""

    def __init__(self, store: Store, loaded: settings.Settings) -> None:
        self.store, self.settings = store, loaded
        for ds in [*ct_slices(), *pet_slices()]:
            self._receive(ds)
        with store.ledger.begin() as tx:
            studies.move(tx, STUDY_UID, StudyState.COMPLETE, NOW)
            studies.move(tx, STUDY_UID, StudyState.SCORED, NOW)

    def _receive(self, ds: Dataset) -> None:
        entry = ReceivedInstance(
            str(ds.SOPClassUID), str(ds.SOPInstanceUID), STUDY_UID, str(ds.SeriesInstanceUID), str(ds.Modality),
            str(ds.file_meta.TransferSyntaxUID), "SCANNER", "EGFR_DLS", "127.0.0.1", "a", datetime.fromtimestamp(NOW, UTC),
        )  # fmt: skip
        ref = self.store.spool.append(entry, [to_part10(ds)])
        with self.store.ledger.begin() as tx:
            indexed = IndexedInstance(entry, ref, str(ds.SOPInstanceUID), own=False)
            arrivals.enter(tx, [indexed], self.store.site_key, "listener")

    def findings(self, found: StudyFindings, dedup: str = "d", at: float = NOW) -> int:
        """Enter findings and queue their report."""
        evidence = self.store.objects.put(scored().evidence.to_bytes())
        with self.store.ledger.begin() as tx:
            row = results.add_findings(tx, STUDY_UID, "pet_ct_egfr", dedup, found.to_json(), evidence, at)
            assert row is not None
            jobs.enqueue(tx, "report", f"report-{row}", STUDY_UID, {"findings_id": row}, NOW)
        return row

    def report(self) -> list[dict[str, Any]]:
        """Work on the one job and return what was logged."""
        with structlog.testing.capture_logs() as events:
            assert job_loop.run_one(
                self.store.ledger, ReportHandler(self.settings, self.store, lambda: NOW), "reporter-1", lambda: NOW
            )
        assert "job_dead" not in {e["event"] for e in events}, events
        return list(events)

    def objects(self, row: int) -> dict[str, Dataset]:
        """Return the built objects of one findings row."""
        with self.store.ledger.read() as tx:
            found = results.objects_of(tx, row)
        return {r.kind: dcmread(BytesIO(self.store.objects.get(r.sha256))) for r in found}

    def deliveries(self) -> set[tuple[str, str, str, str]]:
        """Return kind, destination, state and reason of every delivery."""
        with self.store.ledger.read() as tx:
            return {(r.kind, r.destination, r.state, r.reason) for r in deliveries.of_study(tx, STUDY_UID)}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    """Make a bench with these settings."""
    opened = []

    def call(**sections: Any) -> Bench:
        base = {"storage": {"root": tmp_path}, "destinations": [HERE, AWAY], "reporting": {"pages": False}}
        loaded = settings.load(None, {**base, **sections})
        context = open_store(loaded, "listener")
        opened.append(context)
        return Bench(context.__enter__(), loaded)

    yield call
    for context in opened:
        context.__exit__(None, None, None)


def found() -> StudyFindings:
    """Return findings of research networks, so that nothing holds them back."""
    return replace(scored().findings, study_instance_uid=STUDY_UID)


def test_objects_are_built_kept_and_queued_for_every_destination(make: Any) -> None:
    bench = make()
    row = bench.findings(found())
    built, pictures = bench.report()
    assert (built["event"], built["count"], built["revision"]) == ("report_built", 2, 1)
    assert (pictures["event"], pictures["count"]) == ("pictures_built", 0)
    objects = bench.objects(row)
    assert list(objects) == ["roi", "report"]  # the order of sending
    assert bench.deliveries() == {(k, d, "queued", "") for k in ("roi", "report") for d in ("here", "away")}
    assert {ds.StudyInstanceUID for ds in objects.values()} == {STUDY_UID}


def test_report_is_sent_while_its_pages_are_drawn(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(reporting={"pages": True})
    bench.findings(found())
    queued = []

    def drawn(context: ReportContext) -> Dataset:
        queued.append({kind for kind, *_ in bench.deliveries()})
        return page_images(context)

    monkeypatch.setattr("reporting.build.page_images", drawn)
    events = bench.report()
    assert queued == [{"roi", "report"}]
    assert [(e["event"], e["count"]) for e in events] == [("report_built", 2), ("pictures_built", 1)]
    assert bench.deliveries() == {(k, d, "queued", "") for k in ("roi", "report", "pages") for d in ("here", "away")}


def test_a_site_gets_the_map_and_the_pdf_that_it_asks_for(make: Any) -> None:
    bench = make(reporting={"pages": True, "map": True, "pdf": True}, destinations=[HERE])
    row = bench.findings(found())
    bench.report()
    objects = bench.objects(row)
    assert list(objects) == ["roi", "report", "pages", "map", "pdf"]
    pointed = objects["pdf"].SourceInstanceSequence[0].ReferencedSOPInstanceUID
    assert pointed == objects["report"].SOPInstanceUID


def test_a_drawing_that_fails_costs_the_pages_only(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(reporting={"pages": True}, destinations=[HERE])
    bench.findings(found())
    monkeypatch.setattr("reporting.build.page_images", lambda _context: 1 / 0)
    with structlog.testing.capture_logs() as events:
        job_loop.run_one(bench.store.ledger, ReportHandler(bench.settings, bench.store), "reporter-1", lambda: NOW)
    assert [e["event"] for e in events] == ["report_built", "job_dead"]
    assert bench.deliveries() == {(k, "here", "queued", "") for k in ("roi", "report")}


def test_worker_that_lost_its_lease_sends_nothing(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    bench.findings(found())
    handler = ReportHandler(bench.settings, bench.store, lambda: NOW)
    with bench.store.ledger.begin() as tx:
        lost = jobs.claim(tx, "report", "reporter-1", NOW)
        assert lost is not None
        assert jobs.claim(tx, "report", "reporter-2", NOW + 2 * jobs.LEASE_SECONDS) is not None
    with pytest.raises(jobs.LeaseLostError):
        handler.handle(lost)
    assert bench.deliveries() == set()


def test_headers_are_read_without_the_pixels_behind_them(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    row = bench.findings(found())

    def whole(*_arguments: Any) -> None:
        raise AssertionError("a whole instance was read")

    monkeypatch.setattr(type(bench.store.spool), "read", whole)
    bench.report()
    assert list(bench.objects(row)) == ["roi", "report"]


def test_report_that_is_built_again_is_the_same_bytes(make: Any) -> None:
    bench = make()
    row = bench.findings(found())
    bench.report()
    with bench.store.ledger.read() as tx:
        before = [tuple(r) for r in tx.execute(select(built_object))]
    with bench.store.ledger.begin() as tx:  # as after SIGKILL between the effect and its answer
        jobs.enqueue(tx, "report", "again", STUDY_UID, {"findings_id": row}, NOW)
    bench.report()
    with bench.store.ledger.read() as tx:
        assert [tuple(r) for r in tx.execute(select(built_object))] == before
        assert len(deliveries.of_study(tx, STUDY_UID)) == 4


def test_revision_refers_to_the_report_before_in_the_same_series(make: Any) -> None:
    bench = make()
    first = bench.findings(found())
    bench.report()
    changed = replace(found(), inputs_sha256="other")
    second = bench.findings(changed, "d2", NOW + 3600)
    bench.report()
    a, b = bench.objects(first)["report"], bench.objects(second)["report"]
    assert a.SeriesInstanceUID == b.SeriesInstanceUID
    assert (a.SeriesDate, a.SeriesTime) == (b.SeriesDate, b.SeriesTime)  # of the first object of the series
    assert a.ContentTime != b.ContentTime
    assert (int(a.InstanceNumber), int(b.InstanceNumber)) == (1, 2)
    assert "PredecessorDocumentsSequence" not in a
    series = b.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == a.SOPInstanceUID != b.SOPInstanceUID


def test_each_destination_gets_the_variant_that_it_takes(make: Any) -> None:
    old = {**AWAY, "name": "old", "sr_class": "enhanced"}
    bench = make(reporting={"pages": True}, destinations=[HERE, old, {**AWAY, "name": "images"}])
    with bench.store.ledger.begin() as tx:
        acceptance.record(tx, "images", [SR_CLASSES[1], SecondaryCaptureImageStorage], NOW)
    row = bench.findings(found())
    bench.report()
    with bench.store.ledger.read() as tx:
        queued = [(d.destination, d.kind, d.sop_class_uid) for d in deliveries.of_study(tx, STUDY_UID)]
    reports = {name: uid for name, kind, uid in queued if kind == "report"}
    assert reports == {"here": SR_CLASSES[0], "old": SR_CLASSES[2], "images": SR_CLASSES[1]}
    kinds = {name: [kind for to, kind, _ in queued if to == name] for name in reports}
    assert kinds == {
        "here": ["roi", "report", "pages"],
        "old": ["roi", "report", "pages"],
        "images": ["report", *["single_page"] * 4],
    }
    assert len(bench.objects(row)) == 4


def test_destination_that_changes_while_a_report_is_built_gets_it_built_anew(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(destinations=[HERE])
    bench.findings(found())
    build = reporting_stage.build_reports

    def built(context: ReportContext) -> Any:
        with bench.store.ledger.begin() as tx:
            acceptance.record(tx, "here", {*PROBED_CLASSES} - {SR_CLASSES[0]}, NOW)
        return build(context)

    monkeypatch.setattr(reporting_stage, "build_reports", built)
    bench.report()
    assert bench.deliveries() == set()
    monkeypatch.undo()
    bench.report()
    with bench.store.ledger.read() as tx:
        queued = {(d.kind, d.sop_class_uid) for d in deliveries.of_study(tx, STUDY_UID)}
    assert queued == {("roi", SegmentationStorage), ("report", SR_CLASSES[1])}


def test_destination_that_has_its_report_gets_no_second_one(make: Any) -> None:
    """Findings are built anew for another destination, and this one would take another class meanwhile."""
    bench = make(reporting={"pages": True}, destinations=[HERE, AWAY])
    row = bench.findings(found())
    bench.report()
    with bench.store.ledger.begin() as tx:
        acceptance.record(tx, "here", {*PROBED_CLASSES} - {SR_CLASSES[0]}, NOW)
        jobs.enqueue(tx, "report", "again", STUDY_UID, {"findings_id": row}, NOW)
    before = bench.deliveries()
    bench.report()
    assert bench.deliveries() == before
    with bench.store.ledger.read() as tx:
        sent = [(d.destination, d.sop_class_uid) for d in deliveries.of_study(tx, STUDY_UID) if d.kind == "report"]
    assert sorted(sent) == [("away", SR_CLASSES[0]), ("here", SR_CLASSES[0])]


def test_revision_names_the_report_that_its_destination_has(make: Any) -> None:
    old = {**AWAY, "name": "old", "sr_class": "enhanced"}
    bench = make(destinations=[HERE, old])
    bench.findings(found())
    bench.report()
    row = bench.findings(replace(found(), inputs_sha256="other"), "d2", NOW + 3600)
    bench.report()
    with bench.store.ledger.read() as tx:
        built = [r for r in tx.execute(select(built_object)) if r.kind == "report"]
    before = {r.sop_class_uid: r.sop_instance_uid for r in built if r.findings_id != row}
    assert len(before) == 2
    for r in (r for r in built if r.findings_id == row):
        ds = dcmread(BytesIO(bench.store.objects.get(r.sha256)))
        named = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert named.ReferencedSOPInstanceUID == before[r.sop_class_uid]


def test_refusal_gets_its_report_and_none_where_the_site_wants_none(make: Any) -> None:
    refused = replace(
        found(), status="refused", refusal=Remark("NO_ROI", "no lesion"), lesions=(), patient=type(found().patient)()
    )
    bench = make()
    row = bench.findings(refused)
    bench.report()
    assert list(bench.objects(row)) == ["report"]
    silent = make(reporting={"pages": False, "refusals": False})
    row = silent.findings(replace(refused, inputs_sha256="other"), "d2")
    silent.report()
    assert silent.objects(row) == {}


def demonstration() -> StudyFindings:
    model = found().model
    assert model is not None
    return replace(found(), model=replace(model, status="demonstration"))


def test_demonstration_stays_on_this_machine(make: Any) -> None:
    bench = make()
    bench.findings(demonstration())
    events = bench.report()
    assert bench.deliveries() == {(k, "here", "queued", "") for k in ("roi", "report")} | {
        (k, "away", "parked", DEMONSTRATION) for k in ("roi", "report")
    }
    (parked,) = [e for e in events if e["event"] == "delivery_parked"]
    assert (parked["log_level"], parked["destination"], parked["reason"]) == ("error", "away", DEMONSTRATION)
    assert len(parked["study_key"]) == 16


def test_demonstration_leaves_where_the_site_allows_it(make: Any) -> None:
    bench = make(inference={"allow_demonstration_models": True})
    bench.findings(demonstration())
    bench.report()
    assert {state for _, _, state, _ in bench.deliveries()} == {"queued"}


# the process


def test_stage_delivers_what_it_builds_and_drains(make: Any) -> None:
    with scripted_pacs(classes=("roi", "report")) as pacs:
        pacs_here = {**HERE, "port": pacs.port}
        bench = make(destinations=[pacs_here])
        bench.findings(found())
        # the scripted PACS takes another class of report than is built at first
        stop = threading.Event()
        thread = threading.Thread(target=reporting_stage.main, args=(bench.settings, "reporter-1", stop))
        thread.start()
        settled = {(kind, "here", "stored", "") for kind in ("roi", "report")}
        until(lambda: bench.deliveries() == settled, "settled")
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
        assert len(pacs.received) == 2


def test_stage_that_ends_by_an_error_takes_its_senders_with_it(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()

    def wrong(*_arguments: Any) -> None:
        raise ConfigurationError("wrong")

    monkeypatch.setattr(job_loop, "run", wrong)
    before = threading.active_count()
    with pytest.raises(ConfigurationError):
        reporting_stage.main(bench.settings, "reporter-1", threading.Event())
    assert threading.active_count() == before
