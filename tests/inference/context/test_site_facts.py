"""The site's facts in the inference stage: taken over, used, and acted on when they come late."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import delete, select

from egfr_dls import job_loop, settings
from egfr_dls.findings import ContextFinding, StudyFindings
from egfr_dls.ledger import completion, jobs, results, studies
from egfr_dls.ledger.schema import audit, clinical_fact, concluded_study, concluded_subject, findings, instance, job
from egfr_dls.store import Store, open_store
from egfr_dls.study import Pathway, StudyState
from inference.biomarkers.clinical_context import ClinicalContext
from inference.context import site_facts
from inference.stage import InferenceHandler
from tests.inference.packages import network, write_package
from tests.inference.test_stage import NOW, Bench
from tests.system.study_data import small_study, study_uid
from tests.system.waiting import wait_until

STUDY, OTHER = study_uid(1), study_uid(2)
PATIENT, ACCESSION = "P-0042", "ACC-7"
MUTANT = {"patient_id": PATIENT, "tissue_egfr_mutant": True}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both networks in their smallest form."""
    folder = tmp_path_factory.mktemp("models")
    write_package(folder / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(folder / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    return folder


class Site(Bench):
    """A store, its inference handler, and the folder in which the site leaves facts."""

    def __init__(self, store: Store, loaded: settings.Settings, folder: Path) -> None:
        super().__init__(store, loaded)
        self.folder = folder

    def drop(self, name: str, *entries: Mapping[str, Any], age: float = 60.0, text: str | None = None) -> None:
        """Leave a file that was written so many seconds ago."""
        path = self.folder / name
        path.write_text(json.dumps(entries) if text is None else text, encoding="utf-8")
        os.utime(path, (NOW - age, NOW - age))

    def look(self) -> list[dict[str, Any]]:
        """Look into the folder, and return what was logged."""
        assert self.handler.facts is not None
        with structlog.testing.capture_logs() as events:
            self.handler.facts.look()
        return list(events)

    def score(self, number: int = 1, **attributes: Any) -> None:
        """Receive a study and score it."""
        given = {"PatientID": PATIENT, "AccessionNumber": ACCESSION, "StudyDate": "20250131", **attributes}
        self.receive(small_study(number, **given))
        with self.store.ledger.begin() as tx:
            completion.complete(tx, study_uid(number), "pet_ct_egfr", None, self.settings, NOW)
        self.infer()

    def revisions(self, uid: str = STUDY) -> list[StudyFindings]:
        """Return the findings of every revision."""
        query = select(findings.c.document).where(findings.c.study_instance_uid == uid).order_by(findings.c.revision)
        with self.store.ledger.read() as tx:
            return [StudyFindings.from_json(document) for document in tx.scalars(query)]

    def infer_jobs(self) -> list[str]:
        """Return the states of the inference jobs."""
        return [state for kind, state in self.jobs() if kind == "infer"]


@pytest.fixture
def site(tmp_path: Path, models: Path) -> Iterator[Site]:
    """A fresh store and an empty folder."""
    folder = tmp_path / "facts"
    folder.mkdir()
    loaded = settings.load(
        None,
        {
            "storage": {"root": tmp_path / "root", "min_free_bytes": 0},
            "inference": {"models": str(models)},
            "context": {"folder": str(folder)},
        },
    )
    with open_store(loaded, "listener") as store:
        yield Site(store, loaded, folder)


def _tissue_outranks(found: StudyFindings) -> bool:
    return found.patient.pathway is Pathway.NO_SUGGESTION and "tissue EGFR mutant" in found.patient.rationale


def test_what_lies_there_counts_for_the_score_at_once(site: Site) -> None:
    """Taken over when the study is analysed, whatever the watch's turn."""
    site.drop("facts.json", MUTANT)
    site.score()
    (found,) = site.revisions()
    assert _tissue_outranks(found)
    assert site.look() == []


def test_without_a_file_everything_is_unknown(site: Site) -> None:
    site.score()
    (found,) = site.revisions()
    unknown = "Not known to this software: tissue EGFR, tissue PD-L1, treatment status."
    assert found.patient.rationale.endswith(unknown)
    assert "HISTOLOGY_UNKNOWN" in {w.code for w in found.warnings}


def test_a_late_file_makes_a_revision(site: Site) -> None:
    """Queued with the facts in one transaction; the same file again, or another one that says the same, makes none."""
    site.score()
    site.drop("facts.json", MUTANT)
    events = site.look()
    assert [e["event"] for e in events] == ["context_changed", "context_file_taken"]
    assert (site.row().state, site.infer_jobs()) == (StudyState.COMPLETE, ["done", "ready"])
    site.infer()
    first, second = site.revisions()
    assert not _tissue_outranks(first)
    assert _tissue_outranks(second)
    assert (first.clinical_context, second.clinical_context) == (
        ContextFinding(),
        ContextFinding(tissue_egfr_mutant=True),
    )
    assert [x.egfr_dls for x in first.lesions] == [x.egfr_dls for x in second.lesions]
    assert site.jobs()[-1] == ("report", "ready")
    site.drop("again.json", MUTANT, age=30)
    assert [e["event"] for e in site.look()] == ["context_file_taken"]
    assert site.row().state == StudyState.SCORED


def test_facts_that_change_to_and_fro_make_a_revision_each_time(site: Site) -> None:
    """The newer file counts; a fact is taken back by saying that it is unknown."""
    site.score()
    for age, mutant in ((50, True), (40, False), (30, True), (20, None)):
        site.drop("facts.json", {"patient_id": PATIENT, "tissue_egfr_mutant": mutant}, age=age)
        site.look()
        site.infer()
    rationales = [found.patient.rationale for found in site.revisions()]
    tissue = [next((w for w in ("mutant", "wild type") if f"tissue EGFR {w}" in r), "none") for r in rationales]
    assert tissue == ["none", "mutant", "wild type", "mutant", "none"]


def test_a_file_that_is_gone_takes_nothing_back(site: Site) -> None:
    """Nor does a folder that is not there: a share that is not mounted must not change reports."""
    site.drop("facts.json", MUTANT)
    site.score()
    (site.folder / "facts.json").unlink()
    assert site.look() == []
    site.folder.rmdir()
    (event,) = site.look()
    assert (event["event"], event["log_level"]) == ("context_folder_unreadable", "error")
    assert site.look() == []
    assert site.row().state == StudyState.SCORED
    site.score(2)
    assert all(_tissue_outranks(x) for x in (*site.revisions(), *site.revisions(OTHER)))


def test_a_restart_reads_the_folder_again_and_changes_nothing(site: Site) -> None:
    """Also where an older file contradicts a newer one."""
    site.drop("old.json", {"patient_id": PATIENT, "tissue_egfr_mutant": False}, age=90)
    site.drop("new.json", MUTANT)
    site.score()
    again = Site(site.store, site.settings, site.folder)
    assert [e["event"] for e in again.look()] == ["context_file_taken"] * 2
    assert again.row().state == StudyState.SCORED
    assert _tissue_outranks(site.revisions()[-1])


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ({"patient_id": PATIENT}, True),
        ({"accession_number": ACCESSION}, True),
        ({"patient_id": PATIENT, "accession_number": ACCESSION}, True),
        ({"patient_id": PATIENT, "issuer_of_patient_id": "HIS"}, False),
        ({"patient_id": "P-0043", "accession_number": ACCESSION}, False),
        ({"patient_id": PATIENT, "accession_number": "ACC-8"}, False),
        ({"patient_id": ACCESSION}, False),
        ({"accession_number": PATIENT}, False),
    ],
)
def test_everything_that_an_entry_names_must_agree(site: Site, entry: dict[str, str], meant: bool) -> None:
    """A tissue result never lands with another patient."""
    site.drop("facts.json", entry | {"tissue_egfr_mutant": True})
    site.score()
    assert _tissue_outranks(site.revisions()[0]) == meant


def test_an_issuer_in_the_images_must_be_named(site: Site) -> None:
    """One ID of two issuers is of two patients."""
    site.drop("facts.json", MUTANT)
    site.score(IssuerOfPatientID="HIS")
    assert not _tissue_outranks(site.revisions()[0])
    site.drop("facts.json", MUTANT | {"issuer_of_patient_id": "HIS"}, age=30)
    site.look()
    site.infer()
    assert _tissue_outranks(site.revisions()[-1])


def test_images_that_disagree_on_the_patient_get_no_facts(site: Site) -> None:
    site.drop("facts.json", MUTANT)
    study = small_study(1, PatientID=PATIENT)
    next(ds for ds in study if ds.Modality == "PT").AccessionNumber = "ACC-8"
    site.receive(study)
    site.complete()
    site.infer()
    assert not _tissue_outranks(site.revisions()[0])


def test_a_start_of_treatment_divides_the_studies_of_a_patient(site: Site) -> None:
    """The baseline keeps its pathway; the scan under treatment loses it."""
    site.score(1, StudyDate="20250101")
    site.score(2, StudyDate="20250601", AccessionNumber="ACC-9")
    site.drop("facts.json", {"patient_id": PATIENT, "treatment_started_on": "2025-03-01"})
    assert [e["event"] for e in site.look()].count("context_changed") == 2
    site.infer()
    site.infer()
    baseline, follow_up = site.revisions(STUDY)[-1], site.revisions(OTHER)[-1]
    assert "Stated by the site: no treatment before the scan." in baseline.patient.rationale
    assert "Stated by the site: treatment before the scan." in follow_up.patient.rationale


def test_a_malformed_file_is_told_once_and_changes_nothing(site: Site) -> None:
    """Neither the file's name nor a value of it is in the log; what was known stays, what was not stays unknown."""
    site.score()
    site.drop(f"{PATIENT}.csv", text=f"patient_id,tissue_egfr_mutant\n{PATIENT},L858R\n")
    (event,) = site.look()
    assert (event["event"], event["log_level"], event["code"], event["count"]) == (
        "context_file_rejected",
        "error",
        "ENTRY",
        2,
    )
    assert "tissue_egfr_mutant" in event["reason"]
    assert PATIENT not in repr(event)
    assert "L858R" not in repr(event)
    assert site.look() == []
    assert (site.row().state, site.infer_jobs()) == (StudyState.SCORED, ["done"])
    site.drop(f"{PATIENT}.csv", text=f"patient_id,tissue_egfr_mutant\n{PATIENT},yes\n", age=30)
    assert [e["event"] for e in site.look()] == ["context_changed", "context_file_taken"]


def test_a_file_of_the_future_waits_for_its_time(site: Site) -> None:
    """Told once; taken when the clocks agree, without being written again."""
    site.drop("facts.json", MUTANT, age=-3600)
    clock = [NOW]
    facts = site_facts.SiteFacts(site.folder, site.settings, site.store, lambda: clock[0])
    with structlog.testing.capture_logs() as events:
        facts.look()
        facts.look()
        clock[0] += 4000
        facts.look()
    assert [(e["event"], e.get("code")) for e in events] == [
        ("context_file_rejected", "FROM_THE_FUTURE"),
        ("context_file_taken", None),
    ]


def test_no_identifier_reaches_the_ledger(site: Site) -> None:
    """Facts are kept under keyed hashes."""
    site.drop("facts.json", MUTANT, {"accession_number": ACCESSION, "histology": "other"})
    site.score()
    with site.store.ledger.read() as tx:
        kept = [
            tuple(row)
            for table in (clinical_fact, concluded_study, concluded_subject)
            for row in tx.execute(select(table))
        ]
    assert len(kept) == 6
    assert PATIENT not in repr(kept)
    assert ACCESSION not in repr(kept)


def test_a_study_that_was_given_up_is_named(site: Site) -> None:
    """Its images are gone: the report stays, and the log says so."""
    site.score()
    with site.store.ledger.begin() as tx:
        tx.execute(delete(instance))
    site.drop("facts.json", MUTANT)
    assert [(e["event"], e["log_level"]) for e in site.look()] == [
        ("context_too_late", "warning"),
        ("context_file_taken", "info"),
    ]
    assert site.row().state == StudyState.SCORED


def test_a_refused_study_is_left_alone(site: Site) -> None:
    """Facts change no refusal."""
    site.score(Units="PROPCPS")
    site.drop("facts.json", MUTANT)
    assert [e["event"] for e in site.look()] == ["context_file_taken"]
    assert site.row().state == StudyState.REFUSED


def test_facts_that_come_during_the_analysis_are_not_lost(site: Site) -> None:
    """The findings of the earlier facts are followed by a second analysis, queued in their own transaction."""
    site.receive(small_study(1, PatientID=PATIENT, AccessionNumber=ACCESSION))
    site.complete()
    with site.store.ledger.begin() as tx:
        claimed = jobs.claim(tx, "infer", "inference-1", NOW)
    assert claimed is not None
    effect = site.handler.handle(claimed)
    site.drop("facts.json", MUTANT)
    site.look()
    assert site.infer_jobs() == ["leased"]
    with site.store.ledger.begin() as tx:
        jobs.finish(tx, claimed, effect)
    assert site.infer_jobs() == ["done", "ready"]
    site.infer()
    assert [_tissue_outranks(x) for x in site.revisions()] == [False, True]


def test_a_change_is_in_the_audit_trail(site: Site) -> None:
    site.score()
    site.drop("facts.json", MUTANT)
    site.look()
    with site.store.ledger.read() as tx:
        (row,) = tx.execute(select(audit)).all()
    assert (row.actor, row.action, row.study_instance_uid) == ("context", "analyse again", STUDY)


def test_two_workers_queue_one_analysis(site: Site) -> None:
    """Each has its own view of the folder and the same ledger."""
    site.score()
    other = Site(site.store, site.settings, site.folder)
    site.drop("facts.json", MUTANT)
    site.look()
    assert [e["event"] for e in other.look()] == ["context_file_taken"]
    assert site.infer_jobs() == ["done", "ready"]


def test_what_is_given_by_hand_leaves_the_folder_out(site: Site) -> None:
    """`analyze --context`."""
    site.drop("facts.json", MUTANT)
    site.handler = InferenceHandler(site.settings, site.store, lambda: NOW, context=ClinicalContext())
    site.score()
    assert not _tissue_outranks(site.revisions()[0])


def test_the_running_stage_watches(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job loop and the watch of one process: scored, then a late file, then the revision."""
    monkeypatch.setattr(site_facts, "LOOK_SECONDS", 0.02)
    stop = threading.Event()
    assert site.handler.facts is not None
    loop = threading.Thread(
        target=job_loop.run, args=(site.store.ledger, site.handler, "inference-1", stop, lambda: NOW)
    )
    with site.handler.facts.watching():
        loop.start()
        try:
            site.receive(small_study(1, PatientID=PATIENT))
            site.complete()
            wait_until(lambda: len(site.revisions()) == 1, "scored")
            site.drop(".facts.json", MUTANT)
            (site.folder / ".facts.json").rename(site.folder / "facts.json")
            wait_until(lambda: len(site.revisions()) == 2, "revised")
        finally:
            stop.set()
            loop.join()
    assert [_tissue_outranks(x) for x in site.revisions()] == [False, True]
    with site.store.ledger.read() as tx:
        assert studies.state(tx, STUDY) == StudyState.SCORED
        row = results.newest(tx, STUDY)
        assert row is not None
        assert row.revision == 2
        assert {r.state for r in tx.execute(select(job)) if r.kind == "infer"} == {"done"}
