"""kill -9 of each stage at each step: nothing that was acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset

from egfr_dls.study import StudyState
from tests.inference.packages import write_package
from tests.system.networks import slow_network
from tests.system.pacs import ScriptedPacs, running_pacs
from tests.system.scanner import association, send_whole, store
from tests.system.service import Service, running_service, service_sections
from tests.system.study_data import many_slices, of_modality, small_study, study_uid
from tests.system.waiting import wait_until

pytestmark = pytest.mark.system

SEED = 20  # of the random moments


@pytest.fixture
def own_pacs() -> Iterator[ScriptedPacs]:
    """A PACS for one test."""
    with running_pacs() as running:
        yield running


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that needs a second or more for a study, so that there is a middle to be killed in."""
    folder = tmp_path_factory.mktemp("slow-models")
    write_package(folder / "egfr", slow_network(), name="slow-egfr", status="research")
    return folder


def test_killed_while_receiving_nothing_acknowledged_is_lost_and_no_part_is_scored(
    tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs
) -> None:
    """Three kills of the listener at random moments; then the studies are sent again, whole."""
    moments = random.Random(SEED)
    studies = {n: _long_study(n) for n in (1, 2, 3)}
    with running_service(tmp_path, service_sections(tmp_path, tiny_models, own_pacs.port)) as service:
        acknowledged: set[str] = set()
        for deaths, study in enumerate(studies.values(), 1):
            acknowledged |= _send_until_killed(
                service, study, moments.randrange(5, len(study) // 2), moments.uniform(0.0, 0.02)
            )
            service.wait_for_event("listening", count=deaths + 1)
        assert len(acknowledged) >= 15
        assert acknowledged <= service.durable_instances()
        send_whole(service.port, small_study(9))  # complete, and later than all of them: by then they were decided on
        service.wait_for_state(study_uid(9), StudyState.DELIVERED)
        for n in studies:
            found = service.study(study_uid(n))
            assert (found["state"], found["jobs"]) == (StudyState.RECEIVING, [])
        for n, study in studies.items():
            send_whole(service.port, study)
            document = service.wait_for_state(study_uid(n), StudyState.DELIVERED)
            assert document["instances"] == len(study)
            assert len(own_pacs.reports(study_uid(n))) == 1
        assert {r.study_instance_uid for r in own_pacs.requests} == {study_uid(n) for n in (*studies, 9)}


def test_killed_between_the_last_answer_and_the_result_each_study_is_processed_once(
    tmp_path: Path, slow_models: Path, own_pacs: ScriptedPacs
) -> None:
    """The inference process dies while the job waits, and at three moments of the work."""
    with running_service(tmp_path, service_sections(tmp_path, slow_models, own_pacs.port)) as service:
        work_seconds = _seconds_of_work(service, 10)
        service.kill("inference")  # before the answers: the job waits for a process that has yet to start
        send_whole(service.port, small_study(11))
        document = service.wait_for_state(study_uid(11), StudyState.DELIVERED)
        _assert_processed_once(document, own_pacs, inferences=1)
        hits = 0
        for number, fraction in ((12, 0.05), (13, 0.4), (14, 0.7)):
            send_whole(service.port, small_study(number))
            _wait_until_leased(service, number)
            _let_pass(fraction * work_seconds)
            service.kill("inference")
            too_late = _infer_jobs(service, number) == [("done", 1)]  # on a busy machine the work may have ended before
            hits += not too_late
            document = service.wait_for_state(study_uid(number), StudyState.DELIVERED)
            _assert_processed_once(document, own_pacs, inferences=1 if too_late else 2)
        assert hits


def test_a_study_that_kills_its_worker_every_time_is_dead_and_the_next_one_is_scored(
    tmp_path: Path, slow_models: Path, own_pacs: ScriptedPacs
) -> None:
    """After three attempts; `studies retry` gives it three more."""
    with running_service(tmp_path, service_sections(tmp_path, slow_models, own_pacs.port)) as service:
        send_whole(service.port, small_study(20))
        for attempt in (1, 2, 3):
            _wait_until_leased(service, 20, attempts=attempt)
            service.kill("inference")
            service.wait_for_event("stage_started", count=attempt + 1, kind="inference")
        service.wait_for_state(study_uid(20), StudyState.FAILED)
        send_whole(service.port, small_study(21))
        service.wait_for_state(study_uid(21), StudyState.DELIVERED)
        assert not own_pacs.of_study(study_uid(20), stored=False)
        service.cli("studies", "retry", study_uid(20))
        service.wait_for_state(study_uid(20), StudyState.DELIVERED)
        assert len(own_pacs.reports(study_uid(20))) == 1


def test_each_stage_killed_in_turn_while_studies_arrive(
    tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs
) -> None:
    """Five studies and five kills in one run: five results, each object once or again with the same bytes."""
    numbers = range(30, 35)
    with running_service(tmp_path, service_sections(tmp_path, tiny_models, own_pacs.port)) as service:
        for number, stage in zip(numbers, ("inference", "reporter", "listener", "inference", "reporter"), strict=True):
            service.wait_for_event("listening", count=1 + len(service.events("stage_died", kind="listener")))
            send_whole(service.port, small_study(number))
            service.kill(stage)
        for number in numbers:
            service.wait_for_state(study_uid(number), StudyState.DELIVERED)
            contents = {(r.sop_instance_uid, r.data) for r in own_pacs.reports(study_uid(number))}
            assert len(contents) == 1
        assert len(service.events("stage_died")) == 5
        assert service.durable_instances() == {str(ds.SOPInstanceUID) for n in numbers for ds in small_study(n)}


def test_the_stages_of_a_killed_supervisor_end_by_themselves_and_the_next_run_goes_on(
    tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs
) -> None:
    sections = service_sections(tmp_path, tiny_models, own_pacs.port)
    orphaned = Service(tmp_path, sections)
    try:
        orphaned.wait_until_ready()
        own_pacs.stop()
        send_whole(orphaned.port, small_study(40))
        orphaned.wait_for_state(study_uid(40), StudyState.SCORED)
        os.kill(orphaned.process.pid, signal.SIGKILL)
        orphaned.process.wait()
        wait_until(lambda: not orphaned.running_pids(), "its stages have ended", context=orphaned.tail)
    finally:
        orphaned.clean_up()
    own_pacs.start()
    with running_service(tmp_path, sections) as service:
        document = service.wait_for_state(study_uid(40), StudyState.DELIVERED)
        assert len(own_pacs.reports(study_uid(40))) == 1
        assert sum(j["attempts"] for j in document["jobs"] if j["kind"] == "infer") == 1


def _long_study(number: int) -> list[Dataset]:
    """Return a study in which PET, SEG and one CT are there early, and a second CT series is long."""
    study = small_study(number)
    return [*of_modality(study, "CT", "PT", "SEG"), *many_slices(number, 120)]


def _send_until_killed(service: Service, study: list[Dataset], answers: int, moment_seconds: float) -> set[str]:
    """Send until the listener dies, a moment after ``answers`` answers; return what was acknowledged with success."""
    acknowledged: set[str] = set()
    with association(service.port, study, answer_seconds=2.0) as assoc:
        for ds in study:
            if store(assoc, ds) != 0x0000:
                break
            acknowledged.add(str(ds.SOPInstanceUID))
            if len(acknowledged) == answers:
                threading.Timer(moment_seconds, service.kill, ["listener"]).start()
    assert len(acknowledged) < len(study), "the listener outlived the study"
    return acknowledged


def _seconds_of_work(service: Service, number: int) -> float:
    """Return how long an undisturbed study takes from the lease to its findings."""
    send_whole(service.port, small_study(number))
    _wait_until_leased(service, number)
    started = time.monotonic()
    service.wait_for_state(study_uid(number), StudyState.SCORED, StudyState.DELIVERED)
    return time.monotonic() - started


def _wait_until_leased(service: Service, number: int, *, attempts: int = 1) -> None:
    def leased() -> bool:
        jobs = service.study(study_uid(number)).get("jobs", [])
        return any((j["kind"], j["state"], j["attempts"]) == ("infer", "leased", attempts) for j in jobs)

    wait_until(leased, f"attempt {attempts} is under way", every_seconds=0.01, context=service.tail)


def _infer_jobs(service: Service, number: int) -> list[tuple[str, int]]:
    jobs = service.study(study_uid(number))["jobs"]
    return [(j["state"], j["attempts"]) for j in jobs if j["kind"] == "infer"]


def _let_pass(seconds: float) -> None:
    """Come to a moment of the work; nothing is synchronised by it."""
    time.sleep(seconds)


def _assert_processed_once(document: dict[str, object], pacs: ScriptedPacs, *, inferences: int) -> None:
    jobs = document["jobs"]
    assert isinstance(jobs, list)
    assert [(j["kind"], j["state"], j["attempts"]) for j in jobs] == [
        ("infer", "done", inferences),
        ("report", "done", 1),
    ]
    assert document["revision"] == 1
    assert len(pacs.reports(str(document["study_instance_uid"]), stored=False)) == 1
