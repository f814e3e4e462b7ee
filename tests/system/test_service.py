"""Starting, draining, the force time, and what leaves this machine."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from egfr_dls.study import StudyState
from tests.inference.packages import network, write_package
from tests.system.pacs import SUCCESS, ScriptedPacs, running_pacs
from tests.system.scanner import association, send_whole, store
from tests.system.service import Service, running_service, service_sections
from tests.system.study_data import of_modality, small_study, study_uid
from tests.system.waiting import wait_until

pytestmark = pytest.mark.system

DOCUMENTATION_ADDRESS = "192.0.2.1"  # RFC 5737: nobody's


@pytest.fixture
def own_pacs() -> Iterator[ScriptedPacs]:
    """A PACS for one test."""
    with running_pacs() as running:
        yield running


def test_sigterm_lets_an_open_association_finish_and_keeps_what_it_brought(
    tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs
) -> None:
    """New callers are turned away, the open one is served to its end, and the next run scores the study."""
    sections = service_sections(tmp_path, tiny_models, own_pacs.port, listener={"drain_seconds": 60.0})
    study = small_study(1)
    with running_service(tmp_path, sections) as service, association(service.port, study) as assoc:
        assert {store(assoc, ds) for ds in study[:8]} == {SUCCESS}
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_event("stopped", stage="inference")  # SIGTERM has reached the stages
        wait_until(lambda: not _listens(service.port), "new callers are turned away", context=service.tail)
        assert {store(assoc, ds) for ds in study[8:]} == {SUCCESS}
    assert service.events("drained", count=0)
    with running_service(tmp_path, sections) as service:
        document = service.wait_for_state(study_uid(1), StudyState.DELIVERED)
        assert document["instances"] == len(study)
        assert len(own_pacs.reports(study_uid(1))) == 1


def test_sigterm_aborts_an_association_that_outlasts_the_drain_time(tmp_path: Path, tiny_models: Path) -> None:
    sections = service_sections(tmp_path, tiny_models, listener={"drain_seconds": 0.5})
    with running_service(tmp_path, sections) as service, association(service.port, small_study(2)) as assoc:
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: assoc.is_aborted, "the caller is told by an abort", context=service.tail)
    assert service.events("drained", count=1)


def test_sigterm_finishes_the_report_in_hand(tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs) -> None:
    """A PACS that is slow to answer: its answer is waited for and recorded, and nothing is sent again later."""
    asked, go_on = threading.Event(), threading.Event()

    def slow(_request: object) -> int:
        asked.set()
        assert go_on.wait(60)
        return SUCCESS

    own_pacs.answer = slow
    sections = service_sections(tmp_path, tiny_models, own_pacs.port)
    with running_service(tmp_path, sections) as service:
        send_whole(service.port, small_study(3))
        assert asked.wait(60), service.tail()
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_event("stopped", stage="listener")
        go_on.set()
    assert service.study(study_uid(3))["state"] == StudyState.DELIVERED
    assert len(own_pacs.of_study(study_uid(3), stored=False)) == 1


def test_a_study_that_stays_broken_off_is_refused_at_the_force_time_and_scored_when_it_is_whole(
    tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs
) -> None:
    """The refusal is a report; the whole study, sent later, is the next revision with the refusal as its predecessor."""
    sections = service_sections(tmp_path, tiny_models, own_pacs.port, study={"force_seconds": 3.0})
    study = small_study(10)
    order = [ds for pair in zip(of_modality(study, "CT"), of_modality(study, "PT"), strict=True) for ds in pair]
    with running_service(tmp_path, sections) as service:
        with association(service.port, study) as assoc:
            assert {store(assoc, ds) for ds in order[:10]} == {SUCCESS}
            assoc.abort()
        document = service.wait_for_state(study_uid(10), StudyState.DELIVERED)
        assert document["refusal_code"] == "STUDY_INCOMPLETE"
        assert service.events("study_complete", action="refuse")
        (refusal,) = own_pacs.reports(study_uid(10))
        send_whole(service.port, study)
        wait_until(lambda: service.study(study_uid(10))["revision"] == 2, "the next revision", context=service.tail)
        document = service.wait_for_state(study_uid(10), StudyState.DELIVERED)
        assert (document["findings"]["status"], document["refusal_code"]) == ("scored", None)
        _, score = own_pacs.reports(study_uid(10))
    predecessor = score.dataset.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == refusal.sop_instance_uid
    assert score.dataset.SeriesInstanceUID == refusal.dataset.SeriesInstanceUID


def test_hold_stops_a_study_and_release_lets_it_go_on(
    tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs
) -> None:
    sections = service_sections(tmp_path, tiny_models, own_pacs.port)
    with running_service(tmp_path, sections) as service:
        with association(service.port, small_study(20)) as assoc:
            assert {store(assoc, ds) for ds in small_study(20)} == {SUCCESS}
            wait_until(lambda: service.study(study_uid(20)), "the study is known", context=service.tail)
            service.cli("studies", "hold", study_uid(20))
        send_whole(service.port, small_study(21))
        service.wait_for_state(study_uid(21), StudyState.DELIVERED)
        held = service.study(study_uid(20))
        assert (held["state"], held["held"]) == (StudyState.RECEIVING, True)
        service.cli("studies", "release", study_uid(20))
        service.wait_for_state(study_uid(20), StudyState.DELIVERED)
        assert len(own_pacs.reports(study_uid(20))) == 1


def test_results_of_demonstration_networks_stay_on_this_machine(tmp_path: Path, own_pacs: ScriptedPacs) -> None:
    """The destination on loopback gets them, marked; those for another machine are parked without a connection."""
    models = tmp_path / "models"
    write_package(models / "egfr", network(1), name="demo-egfr", status="demonstration")
    sections = service_sections(tmp_path, models, own_pacs.port)
    sections["destinations"].append(
        {"name": "elsewhere", "ae_title": "PACS", "host": DOCUMENTATION_ADDRESS, "port": 104, "required": False}
    )
    with running_service(tmp_path, sections) as service:
        send_whole(service.port, small_study(30))
        document = service.wait_for_state(study_uid(30), StudyState.DELIVERED)
        assert service.events("delivery_parked", level="error", destination="elsewhere")
    states = {d["destination"]: (d["state"], d["attempts"], d["reason"]) for d in document["deliveries"]}
    assert states == {"pacs1": ("stored", 1, None), "elsewhere": ("parked", 0, "DEMONSTRATION_NOT_ALLOWED")}
    assert not service.events("destination_unreachable")
    (report,) = own_pacs.reports(study_uid(30))
    assert "DEMONSTRATION" in report.dataset.SeriesDescription


def test_a_second_run_on_the_same_storage_waits_until_the_first_one_has_ended(
    tmp_path: Path, tiny_models: Path
) -> None:
    with running_service(tmp_path / "first", service_sections(tmp_path, tiny_models)) as first:
        second = Service(tmp_path / "second", service_sections(tmp_path, tiny_models))
        try:
            second.wait_for_event("waiting_for_last_service")
            assert not second.events("stage_started")
            assert _listens(first.port)
            assert first.stop() == 0
            second.wait_until_ready()
            assert second.stop() == 0
        finally:
            second.clean_up()


def test_a_faulty_network_stops_the_service_before_it_listens_for_long(tmp_path: Path) -> None:
    """Exit 78: a network that does not give its golden values serves nobody."""
    models = tmp_path / "models"
    folder = write_package(models / "egfr", network(1), name="bad", status="research")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    service = Service(tmp_path, service_sections(tmp_path, models))
    try:
        assert service.process.wait(60) == os.EX_CONFIG
        wait_until(lambda: not service.running_pids(), "no process is left", context=service.tail)
    finally:
        service.clean_up()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
