"""Clinical facts that come late: what PACS gets of them from the running service, and what the log does not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from egfr_dls.ledger.schema import audit
from tests.system.pacs import ScriptedPacs, StoreRequest
from tests.system.scanner import send_whole
from tests.system.service import Service, running_service, service_sections
from tests.system.study_data import small_study, study_uid
from tests.system.waiting import wait_until

pytestmark = pytest.mark.system

STUDY, PATIENT, ACCESSION = study_uid(41), "KRANK-0042", "A-2026-117"


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """The site's folder."""
    folder = tmp_path / "facts"
    folder.mkdir()
    return folder


@pytest.fixture
def service(tmp_path: Path, facts: Path, tiny_models: Path, pacs: ScriptedPacs) -> Iterator[Service]:
    """A service that looks into the folder."""
    sections = service_sections(tmp_path, tiny_models, pacs.port, context={"folder": str(facts)})
    with running_service(tmp_path / "service", sections) as running:
        yield running


def _leave(folder: Path, name: str, text: str) -> None:
    """Leave a file as a site should: under another name first, and not of this very second."""
    draft = folder / f"{name}.part"
    draft.write_text(text, encoding="utf-8")
    os.utime(draft, (time.time() - 5.0,) * 2)
    draft.rename(folder / name)


def _reports(service: Service, pacs: ScriptedPacs, count: int) -> list[StoreRequest]:
    """Return the study's reports once there are so many."""
    return wait_until(
        lambda: len(reports := pacs.reports(STUDY)) >= count and reports,
        f"report {count}",
        seconds=120,
        context=service.tail,
    )


def _said(report: StoreRequest) -> str:
    return " ".join(str(e.value) for e in report.dataset.iterall() if e.keyword == "TextValue")


def test_a_late_tissue_result_replaces_the_report(service: Service, pacs: ScriptedPacs, facts: Path) -> None:
    """Scored without facts; a faulty file changes nothing; a sound one gives the next revision, which says what is known."""
    send_whole(service.port, small_study(41, PatientID=PATIENT, AccessionNumber=ACCESSION))
    (first,) = _reports(service, pacs, 1)
    assert "Not known to this software: tissue EGFR, tissue PD-L1, treatment status." in _said(first)

    _leave(facts, f"{PATIENT}.csv", f"patient_id,tissue_egfr_mutant\n{PATIENT},L858R\n")
    event = service.wait_for_event("context_file_rejected")
    assert (event["level"], event["code"], event["count"], event["stage"]) == ("error", "ENTRY", 2, "inference")
    assert len(pacs.reports(STUDY)) == 1

    _leave(facts, f"{PATIENT}.json", json.dumps({"accession_number": ACCESSION, "tissue_egfr_mutant": True}))
    service.wait_for_event("context_changed")
    reports = _reports(service, pacs, 2)
    assert len(reports) == 2
    assert "Stated by the site: tissue EGFR mutant." in _said(reports[1])
    (evidence,) = reports[1].dataset.PredecessorDocumentsSequence
    replaced = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert replaced == first.sop_instance_uid
    document = service.wait_until_all_is_sent(STUDY)
    assert document["revision"] == 2
    assert document["findings"]["clinical_context"]["tissue_egfr_mutant"] is True
    assert [(row.actor, row.action) for row in service.rows(audit)] == [("context", "analyse again")]

    assert f"{PATIENT}.csv: does not count: ENTRY, entry or line 2: tissue_egfr_mutant" in service.cli(
        "context", code=3
    )
    log = service.log_file.read_text(encoding="utf-8")
    assert not [word for word in (PATIENT, ACCESSION, "L858R") if word in log]
