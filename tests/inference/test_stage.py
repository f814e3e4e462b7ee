"""The inference stage: a complete study's bytes in the spool become findings, its state and a report job, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom import Dataset
from sqlalchemy import select

from egfr_dls import job_loop, settings
from egfr_dls.findings import StudyFindings
from egfr_dls.ledger import arrivals, completion, jobs, results, studies
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.ledger.schema import findings, job, networks_in_use
from egfr_dls.store import Store, open_store
from egfr_dls.study import ReceivedInstance, StudyState
from inference.stage import InferenceHandler, findings_dedup
from tests.builders import to_part10
from tests.egfr_dls.test_findings import SCORED
from tests.inference.packages import network, write_package
from tests.system.study_data import of_modality, small_study, study_uid

NOW = 1_700_000_000.0
STUDY = study_uid(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both networks in their smallest form."""
    folder = tmp_path_factory.mktemp("models")
    write_package(folder / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(folder / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    return folder


class Bench:
    """A store and its inference handler."""

    def __init__(self, store: Store, loaded: settings.Settings) -> None:
        self.store, self.settings = store, loaded
        self.handler = InferenceHandler(loaded, store, lambda: NOW)

    def receive(self, given: Sequence[Dataset | tuple[Dataset, bytes]]) -> None:
        """Put instances into spool and ledger, as received; a pair has bytes of its own."""
        for one in given:
            ds, data = one if isinstance(one, tuple) else (one, to_part10(one))
            entry = ReceivedInstance(
                str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID),
                str(ds.Modality), str(ds.file_meta.TransferSyntaxUID), "SCANNER", "EGFR_DLS", "127.0.0.1",
                str(uuid.uuid4()), datetime.fromtimestamp(NOW, UTC),
            )  # fmt: skip
            ref = self.store.spool.append(entry, [data])
            indexed = IndexedInstance(entry, ref, f"{ds.SOPInstanceUID}-{len(data)}"[-64:], own=False)
            with self.store.ledger.begin() as tx:
                arrivals.enter(tx, [indexed], self.store.site_key, "listener")

    def complete(self, forced: Any = None) -> None:
        """Complete the study and queue its inference."""
        with self.store.ledger.begin() as tx:
            assert completion.complete(tx, STUDY, "pet_ct_egfr", forced, self.settings, NOW)

    def infer(self) -> list[dict[str, Any]]:
        """Work on the one job and return what was logged."""
        with structlog.testing.capture_logs() as events:
            assert job_loop.run_one(self.store.ledger, self.handler, "inference-1", lambda: NOW)
        return list(events)

    def found(self) -> StudyFindings | None:
        """Return the newest findings."""
        with self.store.ledger.read() as tx:
            row = results.newest(tx, STUDY)
        return None if row is None else StudyFindings.from_json(row.document)

    def jobs(self) -> list[tuple[str, str]]:
        """Return kind and state of every job."""
        with self.store.ledger.read() as tx:
            return [(r.kind, r.state) for r in tx.execute(select(job).order_by(job.c.id))]

    def row(self) -> Any:
        """Return the study's row."""
        with self.store.ledger.read() as tx:
            return studies.find(tx, STUDY)


@pytest.fixture
def bench(tmp_path: Path, models: Path) -> Iterator[Bench]:
    """A fresh store."""
    loaded = settings.load(
        None, {"storage": {"root": tmp_path, "min_free_bytes": 0}, "inference": {"models": str(models)}}
    )
    with open_store(loaded, "listener") as store:
        yield Bench(store, loaded)


def test_each_network_is_named_once_when_the_stage_begins(bench: Bench) -> None:
    with structlog.testing.capture_logs() as events:
        InferenceHandler(bench.settings, bench.store)
    shown = [(e["event"], e["kind"], e["model"], e["version"], e["model_status"]) for e in events]
    assert shown == [
        ("model_loaded", "egfr", "tiny-egfr", "1.0.0", "research"),
        ("model_loaded", "pdl1", "tiny-pdl1", "1.0.0", "research"),
    ]
    assert all(str(e["runtime"]).startswith("onnxruntime-cpu 1.") for e in events)


def test_study_is_scored_and_its_report_queued(bench: Bench) -> None:
    bench.receive(small_study(1))
    bench.complete()
    (event,) = bench.infer()
    assert (event["event"], event["state"], event["code"]) == ("study_analysed", "scored", None)
    found = bench.found()
    assert found is not None
    assert (found.status, found.study_instance_uid, found.product_version) == ("scored", STUDY, SCORED.product_version)
    assert bench.row().state == StudyState.SCORED
    assert bench.jobs() == [("infer", "done"), ("report", "ready")]


def test_order_of_arrival_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.receive(small_study(1))
    bench.complete()
    bench.infer()
    with open_store(settings.load(None, {"storage": {"root": tmp_path / "other"}}), "listener") as store:
        other = Bench(store, bench.settings)
        other.receive(list(reversed(small_study(1))))
        other.complete()
        other.infer()
        a, b = bench.found(), other.found()
    assert a is not None
    assert b is not None
    assert replace(a, timings_seconds={}) == replace(b, timings_seconds={})


def test_refused_study_has_findings_and_a_report_too(bench: Bench) -> None:
    bench.receive(of_modality(small_study(1), "CT"))
    bench.complete("score")
    bench.infer()
    found = bench.found()
    assert found is not None
    assert found.refusal is not None
    assert (bench.row().state, bench.row().refusal_code) == (StudyState.REFUSED, "SERIES_MISSING")
    assert bench.jobs() == [("infer", "done"), ("report", "ready")]


def test_study_that_was_not_received_whole_is_refused_with_what_came(bench: Bench) -> None:
    bench.receive(small_study(1))
    bench.complete("refuse")
    bench.infer()
    found = bench.found()
    assert found is not None
    assert found.refusal is not None
    assert found.refusal.code == "STUDY_INCOMPLETE"
    assert "CT 8" in found.refusal.message
    assert "PT 8" in found.refusal.message


def test_instance_that_cannot_be_decoded_refuses_its_study_by_name(bench: Bench) -> None:
    study = small_study(1)
    bench.receive([*study[:-1], (study[-1], b"\0" * 128 + b"DICM" + b"\xff" * 64)])
    bench.complete()
    bench.infer()
    found = bench.found()
    assert found is not None
    assert found.refusal is not None
    assert found.refusal.code == "PIXELS_UNREADABLE"
    assert str(study[-1].SOPInstanceUID) in found.refusal.message


def test_study_of_which_nothing_can_be_decoded_is_refused_without_a_report(bench: Bench) -> None:
    bench.receive([(ds, b"\0" * 128 + b"DICM" + b"\xff" * 64) for ds in small_study(1)[:2]])
    bench.complete()
    events = bench.infer()
    assert [(e["event"], e.get("code")) for e in events] == [("study_unreadable", "PIXELS_UNREADABLE")]
    assert (bench.row().state, bench.row().refusal_code) == (StudyState.REFUSED, "PIXELS_UNREADABLE")
    assert bench.jobs() == [("infer", "done")]
    assert bench.found() is None


def test_same_findings_again_make_no_revision(bench: Bench) -> None:
    bench.receive(small_study(1))
    bench.complete()
    bench.infer()
    with bench.store.ledger.begin() as tx:
        studies.move(tx, STUDY, StudyState.COMPLETE, NOW)
        jobs.enqueue(tx, "infer", "again", STUDY, {"biomarker": "pet_ct_egfr", "forced": None}, NOW)
    bench.infer()
    assert bench.jobs() == [("infer", "done"), ("report", "ready"), ("infer", "done")]
    assert bench.row().state == StudyState.SCORED


def test_evidence_lies_beside_the_findings(bench: Bench) -> None:
    bench.receive(small_study(1))
    bench.complete()
    bench.infer()
    with bench.store.ledger.read() as tx:
        row = results.newest(tx, STUDY)
    assert row is not None
    assert bench.store.objects.get(row.evidence)[:2] == b"PK"


@pytest.mark.parametrize(
    "change",
    [
        {"inputs_sha256": "x"},
        {"configuration_sha256": "x"},
        {"product_version": "x"},
        {"model": replace(SCORED.model, sha256="x")},  # type: ignore[type-var]  # it has one
        {"model": replace(SCORED.model, preprocessing_sha256="x")},  # type: ignore[type-var]  # it has one
        {"companion_model": SCORED.model},
    ],
    ids=lambda change: next(iter(change)),
)
def test_key_of_a_run_changes_with_all_that_a_report_depends_on(change: dict[str, Any]) -> None:
    assert findings_dedup(replace(SCORED, **change)) != findings_dedup(SCORED)
    assert findings_dedup(replace(SCORED, timings_seconds={"x": 1.0})) == findings_dedup(SCORED)


def test_the_next_study_of_the_patient_shows_this_result(bench: Bench) -> None:
    for number, date in ((1, "20250101"), (2, "20250601")):
        study = small_study(number, PatientID="4711", StudyDate=date)
        bench.receive(study)
        with bench.store.ledger.begin() as tx:
            completion.complete(tx, study_uid(number), "pet_ct_egfr", None, bench.settings, NOW)
        bench.infer()
    first = bench.found()
    with bench.store.ledger.read() as tx:
        row = results.newest(tx, study_uid(2))
    assert row is not None
    assert first is not None
    assert first.priors == ()
    second = StudyFindings.from_json(row.document)
    (prior,) = second.priors
    assert second.differs(prior) == ()  # the same network, in the same configuration
    assert (prior.study_date, prior.egfr_dls) == ("2025-01-01", first.patient.egfr_dls)


def test_a_study_that_is_computed_once_more_gives_the_same_and_enters_nothing(bench: Bench) -> None:
    """What compares a score is not on duty: the listener is not told that its networks are the service's."""
    bench.receive(small_study(1))
    bench.complete()
    bench.infer()
    found = bench.found()
    with bench.store.ledger.begin() as tx:
        tx.execute(networks_in_use.delete())
    again = InferenceHandler(bench.settings, bench.store, on_duty=False).findings_again(STUDY, "pet_ct_egfr", None)
    assert found is not None
    assert replace(again, timings_seconds={}) == replace(found, timings_seconds={})
    with bench.store.ledger.read() as tx:
        assert tx.execute(select(networks_in_use)).all() == []
        assert [row.revision for row in tx.execute(select(findings))] == [1]
