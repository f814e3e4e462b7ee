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
from egfr_dls.ledger import Tx, arrivals, completion, deliveries, jobs, networks, results, schema, studies, withdrawals
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import job
from egfr_dls.ledger.withdrawals import RejectedFor
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


def analysed(tx: Tx, site: Settings, refusal: Remark | None = None, *, report: str = "2.25.1") -> None:
    """Complete the study, finish its job with findings and a report, and queue the report for the PACS."""
    complete(tx, site)
    tx.execute(update(job).values(state="done"))
    found = replace(
        FINDINGS,
        status="refused" if refusal else "scored",
        refusal=refusal,
        configuration_sha256=site.configuration_sha256,
    )
    findings_id = results.add_findings(
        tx, STUDY, BIOMARKER, site.configuration_sha256, found.to_json(), "e", 100.0,
        question=completion.asked(tx, STUDY, BIOMARKER, None, site),
    )  # fmt: skip
    assert findings_id is not None
    reported(tx, findings_id, report)


def reported(tx: Tx, findings_id: int, report: str) -> None:
    made = BuiltObject(report, "2.25.2", "1.2.3", "1.2.4", "report", "s", 100.0)
    results.add_objects(tx, findings_id, STUDY, [made])
    deliveries.queue(tx, [report], "pacs", 100.0)


def store(tx: Tx, report: str) -> None:
    deliveries.begin_attempt(tx, report, "pacs", 110.0)
    deliveries.settle(tx, report, "pacs", DeliveryState.STORED)


@pytest.mark.parametrize("refusal", [None, Remark("SERIES_MISSING", "no CT")])
@pytest.mark.parametrize("stored", [False, True])
def test_the_same_set_goes_back_to_its_result(tx: Tx, site: Settings, refusal: Remark | None, stored: bool) -> None:
    analysed(tx, site, refusal)
    if stored:
        store(tx, "2.25.1")
    reopen(tx)
    assert not complete(tx, site)
    at_result = StudyState.REFUSED if refusal else StudyState.SCORED
    assert studies.state(tx, STUDY) is (StudyState.DELIVERED if stored else at_result)
    assert studies.find(tx, STUDY).refusal_code == (refusal.code if refusal else None)
    assert job_states(tx) == ["done"]


@pytest.mark.parametrize("required", [True, False])
def test_only_what_a_required_destination_has_is_delivered(tx: Tx, tmp_path: Path, required: bool) -> None:
    other = {**PACS, "name": "other", "required": required}
    site = configuration.load(None, {"storage": {"root": tmp_path}, "destinations": [PACS, other]})
    analysed(tx, site)
    deliveries.queue(tx, ["2.25.1"], "other", 100.0)
    store(tx, "2.25.1")
    reopen(tx)
    complete(tx, site)
    assert studies.state(tx, STUDY) is (StudyState.SCORED if required else StudyState.DELIVERED)


def test_what_left_no_findings_is_analysed_again(tx: Tx, site: Settings) -> None:
    """Not one instance could be read: nothing stands that the study could go back to."""
    complete(tx, site)
    tx.execute(update(job).values(state="done"))
    reopen(tx)
    assert complete(tx, site)
    assert (studies.state(tx, STUDY), job_states(tx)) == (StudyState.COMPLETE, ["ready"])


# --- what was concluded since of something else -----------------------------------------------------------------------


def otherwise(site: Settings) -> Settings:
    """Return settings under which a report would be another."""
    return site.model_copy(update={"reporting": site.reporting.model_copy(update={"pages": False})})


def test_back_under_an_earlier_configuration_the_result_of_another_is_not_current(tx: Tx, site: Settings) -> None:
    """A, B, A: the job of A is worked on again and made now, so that its result is the newest revision, and says so."""
    analysed(tx, site)
    reopen(tx)
    analysed(tx, otherwise(site), report="2.25.11")
    store(tx, "2.25.11")
    reopen(tx)
    assert completion.complete(tx, STUDY, BIOMARKER, None, site, 300.0)
    assert studies.state(tx, STUDY) is StudyState.COMPLETE
    first, second = studies.jobs_of(tx, STUDY)
    assert (first.state, second.state) == ("ready", "done")
    assert (first.attempts, first.run_at, first.created_at) == (0, 300.0, 300.0)


def test_and_under_the_configuration_of_the_newest_it_is(tx: Tx, site: Settings) -> None:
    """A, B, A, B without a result in between: B's stands all the time."""
    analysed(tx, site)
    reopen(tx)
    analysed(tx, otherwise(site), report="2.25.11")
    reopen(tx)
    assert not complete(tx, otherwise(site))
    assert studies.state(tx, STUDY) is StudyState.SCORED


def test_a_result_that_is_found_again_answers_the_later_question(tx: Tx, site: Settings) -> None:
    """Forced to be scored as it is, it came out the same: no revision, and the study goes back to it from there too."""
    analysed(tx, site)
    reopen(tx)
    assert complete(tx, site, "score")
    tx.execute(update(job).values(state="done"))
    question = completion.asked(tx, STUDY, BIOMARKER, "score", site)
    again = results.current(tx, STUDY, BIOMARKER)
    assert again is not None
    assert results.add_findings(tx, STUDY, BIOMARKER, again.dedup, again.document, "e", 1.0, question=question) is None
    reopen(tx)
    assert not complete(tx, site, "score")
    assert studies.state(tx, STUDY) is StudyState.SCORED


def test_other_networks_are_another_question(tx: Tx, site: Settings) -> None:
    """The configuration only says where they lie."""
    networks.note(tx, BIOMARKER, "one")
    analysed(tx, site)
    reopen(tx)
    networks.note(tx, BIOMARKER, "two")
    assert complete(tx, site)
    networks.note(tx, BIOMARKER, "one")
    reopen(tx)
    assert not complete(tx, site)
    assert studies.state(tx, STUDY) is StudyState.SCORED, "nobody has begun the other job: the result stands"
    assert job_states(tx) == ["done", "cancelled"]


@pytest.mark.parametrize("changed", [False, True])
def test_what_an_older_version_found_stands_under_its_configuration(tx: Tx, site: Settings, changed: bool) -> None:
    analysed(tx, site)
    tx.execute(update(schema.findings).values(question=None))
    if changed:
        found = replace(FINDINGS, configuration_sha256="another")
        tx.execute(update(schema.findings).values(document=found.to_json()))
    reopen(tx)
    assert complete(tx, site) is changed


# --- what comes when the images are gone ------------------------------------------------------------------------------


@pytest.fixture
def delivered(tx: Tx, site: Settings) -> Tx:
    """The study's report has arrived; then something came that says nothing without the images."""
    analysed(tx, site)
    store(tx, "2.25.1")
    reopen(tx)
    return tx


def test_a_study_is_led_back_to_its_result(delivered: Tx, site: Settings) -> None:
    completion.keep_result(delivered, STUDY, site, 300.0, too_late=False)
    assert studies.state(delivered, STUDY) is StudyState.DELIVERED
    assert job_states(delivered) == ["done"]


def test_of_a_region_that_came_too_late_is_told_once(delivered: Tx, site: Settings) -> None:
    tx = delivered
    receive(tx, "1.2.1.2")
    completion.keep_result(tx, STUDY, site, 300.0, too_late=True)
    assert studies.state(tx, STUDY) is StudyState.COMPLETE
    assert json.loads(studies.jobs_of(tx, STUDY)[1].payload) == {"biomarker": BIOMARKER, "forced": "released"}
    tell(tx, site)
    assert studies.state(tx, STUDY) is StudyState.SCORED, "until that report has arrived too"
    reopen(tx)
    completion.keep_result(tx, STUDY, site, 400.0, too_late=True)
    assert studies.state(tx, STUDY) is StudyState.SCORED
    assert job_states(tx) == ["done", "done"]


def tell(tx: Tx, site: Settings) -> None:
    """Finish the job that tells."""
    tx.execute(update(job).values(state="done"))
    question = completion.asked(tx, STUDY, BIOMARKER, "released", site)
    refused = replace(FINDINGS, status="refused", refusal=Remark("ROI_TOO_LATE", "too late"))
    told = results.add_findings(
        tx, STUDY, BIOMARKER, "notice", refused.to_json(), "e", 300.0, question=question, notice=True
    )
    assert told is not None
    reported(tx, told, "2.25.12")
    completion.return_to_result(tx, STUDY, BIOMARKER, site, 300.0)


def test_what_is_told_is_the_newest_report_and_no_result(delivered: Tx, site: Settings) -> None:
    tx = delivered
    assert results.notice(tx, STUDY) is None
    receive(tx, "1.2.1.2")
    completion.keep_result(tx, STUDY, site, 300.0, too_late=True)
    tell(tx, site)
    for row in (results.current(tx, STUDY, BIOMARKER), results.newest(tx, STUDY)):
        assert row is not None
        assert (row.revision, row.notice) == (1, False)
    for row in (results.last(tx, STUDY, BIOMARKER), results.notice(tx, STUDY)):
        assert row is not None
        assert (row.revision, row.notice) == (2, True)
    assert [b.revision for b in results.predecessors(tx, STUDY, BIOMARKER, 3)] == [2]
    assert studies.find(tx, STUDY).refusal_code is None
    results.add_findings(tx, STUDY, BIOMARKER, "a result", FINDINGS.to_json(), "e", 400.0)
    assert results.notice(tx, STUDY) is None


def test_where_no_refusal_is_reported_neither_is_that(delivered: Tx, site: Settings) -> None:
    silent = site.model_copy(update={"reporting": site.reporting.model_copy(update={"refusals": False})})
    completion.keep_result(delivered, STUDY, silent, 300.0, too_late=True)
    assert studies.state(delivered, STUDY) is StudyState.DELIVERED
    assert job_states(delivered) == ["done"]


def test_nor_where_the_result_was_withdrawn(delivered: Tx, site: Settings) -> None:
    """It would say that it stands."""
    current = results.current(delivered, STUDY, BIOMARKER)
    assert current is not None
    withdrawals.withdraw(delivered, STUDY, current.id, RejectedFor.QUALITY, "wrong", "somebody", 200.0)
    completion.keep_result(delivered, STUDY, site, 300.0, too_late=True)
    assert job_states(delivered) == ["done"]
