"""From RECEIVING to COMPLETE: one transaction, one job for one set of instances."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from egfr_dls import settings as configuration
from egfr_dls.delivery import DeliveryState
from egfr_dls.findings import PatientFinding, StudyFindings
from egfr_dls.ledger import Tx, arrivals, completion, deliveries, jobs, results, studies
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import job
from egfr_dls.refusals import Remark
from egfr_dls.settings import Settings
from egfr_dls.study import ReceivedInstance, SpoolRef, StudyState

STUDY, BIOMARKER = "1.2", "pet_ct_egfr"
FINDINGS = StudyFindings(
    product_version="0.1.0", study_instance_uid=STUDY, biomarker=BIOMARKER, status="scored", partial=False, refusal=None,
    model=None, companion_model=None, series=(), lesions=(), patient=PatientFinding(), warnings=(), inputs_sha256="i",
    configuration_sha256="c",
)  # fmt: skip
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.fixture
def tx(tx: Tx) -> Tx:
    """An open transaction on a ledger that knows a study of one instance."""
    receive(tx, "1.2.1.1")
    return tx


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    """Settings with one required destination."""
    return configuration.load(None, {"storage": {"root": tmp_path}, "destinations": [PACS]})


def receive(tx: Tx, uid: str) -> None:
    entry = ReceivedInstance(
        "1.2.840.10008.5.1.4.1.1.2", uid, STUDY, "1.2.1", "CT", "1.2.840.10008.1.2.1", "SCANNER", "EGFR_DLS", "127.0.0.1", "a",
        datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    found = IndexedInstance(entry, SpoolRef("s", 0, 1), f"digest of {uid}", own=False)
    arrivals.enter(tx, [found], b"key", "listener-test")


def complete(tx: Tx, site: Settings, forced: completion.Forced | None = None) -> bool:
    return completion.complete(tx, STUDY, BIOMARKER, forced, site, 100.0)


def job_states(tx: Tx) -> list[str]:
    return [row.state for row in studies.jobs_of(tx, STUDY)]


def reopen(tx: Tx) -> None:
    """An input that is gone again, or none that counts: the same set as before."""
    studies.received_input(tx, STUDY, 200.0, 200.0)


def test_the_study_and_its_job_change_together(tx: Tx, site: Settings) -> None:
    assert complete(tx, site)
    assert studies.state(tx, STUDY) is StudyState.COMPLETE
    (row,) = studies.jobs_of(tx, STUDY)
    assert (row.kind, row.state, json.loads(row.payload)) == (
        "infer",
        "ready",
        {"biomarker": BIOMARKER, "forced": None},
    )


def test_a_study_that_is_complete_is_not_completed_again(tx: Tx, site: Settings) -> None:
    complete(tx, site)
    assert not complete(tx, site)
    assert len(job_states(tx)) == 1


@pytest.mark.parametrize("change", ["instance", "forced", "configuration"])
def test_another_set_or_question_is_another_job(tx: Tx, site: Settings, change: str) -> None:
    complete(tx, site)
    reopen(tx)
    if change == "instance":
        receive(tx, "1.2.1.2")
    if change == "configuration":
        site = site.model_copy(update={"reporting": site.reporting.model_copy(update={"pages": False})})
    assert complete(tx, site, "score" if change == "forced" else None)
    assert job_states(tx) == ["cancelled", "ready"], "nobody had begun the earlier one"


def test_a_job_that_is_being_worked_on_is_left_alone(tx: Tx, site: Settings) -> None:
    complete(tx, site)
    jobs.claim(tx, "infer", "w", 100.0)
    receive(tx, "1.2.1.2")
    assert complete(tx, site)
    assert job_states(tx) == ["leased", "ready"]


@pytest.mark.parametrize("state", ["ready", "leased"])
def test_the_same_set_on_its_way_stays_complete(tx: Tx, site: Settings, state: str) -> None:
    complete(tx, site)
    tx.execute(update(job).values(state=state))
    reopen(tx)
    assert not complete(tx, site)
    assert studies.state(tx, STUDY) is StudyState.COMPLETE
    assert job_states(tx) == [state]


def test_the_same_set_whose_job_died_is_failed(tx: Tx, site: Settings) -> None:
    complete(tx, site)
    tx.execute(update(job).values(state="dead"))
    reopen(tx)
    assert not complete(tx, site)
    assert studies.state(tx, STUDY) is StudyState.FAILED


def test_a_cancelled_job_is_taken_up_again(tx: Tx, site: Settings) -> None:
    complete(tx, site)
    reopen(tx)
    complete(tx, site, "score")
    reopen(tx)
    assert complete(tx, site)
    assert job_states(tx) == ["ready", "cancelled"]
    assert studies.state(tx, STUDY) is StudyState.COMPLETE


def analysed(tx: Tx, site: Settings, refusal: Remark | None) -> None:
    """Complete the study, finish its job with findings and a report, and queue the report for the PACS."""
    complete(tx, site)
    tx.execute(update(job).values(state="done"))
    found = replace(FINDINGS, status="refused" if refusal else "scored", refusal=refusal)
    findings_id = results.add_findings(tx, STUDY, BIOMARKER, "d", found.to_json(), "e", 100.0)
    assert findings_id is not None
    report = BuiltObject("2.25.1", "2.25.2", "1.2.3", "1.2.4", "report", "s", 100.0)
    results.add_objects(tx, findings_id, STUDY, [report])
    deliveries.queue(tx, ["2.25.1"], "pacs", 100.0)


@pytest.mark.parametrize("refusal", [None, Remark("SERIES_MISSING", "no CT")])
@pytest.mark.parametrize("stored", [False, True])
def test_the_same_set_goes_back_to_its_result(tx: Tx, site: Settings, refusal: Remark | None, stored: bool) -> None:
    analysed(tx, site, refusal)
    if stored:
        deliveries.begin_attempt(tx, "2.25.1", "pacs", 110.0)
        deliveries.settle(tx, "2.25.1", "pacs", DeliveryState.STORED)
    reopen(tx)
    assert not complete(tx, site)
    at_result = StudyState.REFUSED if refusal else StudyState.SCORED
    assert studies.state(tx, STUDY) is (StudyState.DELIVERED if stored else at_result)
    assert studies.find(tx, STUDY).refusal_code == (refusal.code if refusal else None)
    assert job_states(tx) == ["done"]


def test_the_same_set_without_findings_is_not_applicable_again(tx: Tx, site: Settings) -> None:
    complete(tx, site)
    tx.execute(update(job).values(state="done"))
    reopen(tx)
    assert not complete(tx, site)
    assert studies.state(tx, STUDY) is StudyState.NOT_APPLICABLE
