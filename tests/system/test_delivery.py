"""What the running service does with each answer of a PACS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from egfr_dls.delivery import DeliveryState
from egfr_dls.ledger.schema import job as job_rows
from egfr_dls.ledger.schema import own_object_returned
from egfr_dls.study import StudyState
from tests.system.pacs import ABORT, SUCCESS, ScriptedPacs, answers
from tests.system.scanner import send_whole
from tests.system.service import PACS, Service
from tests.system.study_data import small_study, study_uid
from tests.system.waiting import wait_until

pytestmark = pytest.mark.system

OUT_OF_RESOURCES, NOT_AUTHORISED, COERCION = 0xA700, 0x0124, 0xB000
DELIVERED_WITHIN_SECONDS = 15.0  # of the return of a PACS that was down


@pytest.fixture(autouse=True)
def plain_answers(pacs: ScriptedPacs) -> Iterator[None]:
    """Put the plain answers back after each test."""
    yield
    pacs.answer = lambda _request: SUCCESS


@pytest.mark.parametrize(
    ("number", "script"),
    [
        pytest.param(1, [OUT_OF_RESOURCES], id="A700 once"),
        pytest.param(2, [OUT_OF_RESOURCES] * 5, id="A700 five times"),
        pytest.param(3, [ABORT], id="abort instead of an answer"),
        pytest.param(4, [0x0110, 0xC000], id="0110, then C000"),
    ],
)
def test_a_refusal_that_may_pass_is_tried_again_with_the_same_bytes(
    service: Service, pacs: ScriptedPacs, number: int, script: list[int]
) -> None:
    pacs.answer = answers(*script)
    send_whole(service.port, small_study(number))
    document = service.wait_for_state(study_uid(number), StudyState.DELIVERED)
    tries = pacs.of_study(study_uid(number), stored=False)
    assert [t.status for t in tries] == [*script, SUCCESS]
    assert len({(t.sop_instance_uid, t.data) for t in tries}) == 1
    assert [d["attempts"] for d in document["deliveries"]] == [len(tries)]
    assert _inferences(document) == 1


def test_a_warning_status_counts_as_stored(service: Service, pacs: ScriptedPacs) -> None:
    pacs.answer = answers(COERCION)
    send_whole(service.port, small_study(8))
    document = service.wait_for_state(study_uid(8), StudyState.DELIVERED)
    (delivery,) = document["deliveries"]
    assert (delivery["state"], delivery["last_status"], delivery["reason"]) == ("stored", "B000", "COERCED")
    assert len(pacs.of_study(study_uid(8), stored=False)) == 1


def test_a_permanent_refusal_is_parked_at_once_and_retry_sends_the_same_bytes(
    service: Service, pacs: ScriptedPacs
) -> None:
    pacs.answer = lambda _request: NOT_AUTHORISED
    send_whole(service.port, small_study(10))
    alert = service.wait_for_event("delivery_parked", level="error", status="0124")
    document = service.study(study_uid(10))
    assert alert["study_key"] == document["study_key"]
    assert [(d["state"], d["attempts"]) for d in document["deliveries"]] == [("parked", 1)]
    (first,) = pacs.of_study(study_uid(10), stored=False)

    pacs.answer = lambda _request: SUCCESS
    service.cli("studies", "retry", document["study_key"])
    document = service.wait_for_state(study_uid(10), StudyState.DELIVERED)
    (second,) = pacs.of_study(study_uid(10))
    assert (second.sop_instance_uid, second.data) == (first.sop_instance_uid, first.data)
    assert _inferences(document) == 1
    assert document["revision"] == 1
    shown = json.loads(service.cli("studies", "show", study_uid(10), "--json"))
    assert shown == service.study(study_uid(10))


def test_a_pacs_that_was_down_gets_its_results_soon_after_its_return(service: Service, pacs: ScriptedPacs) -> None:
    pacs.stop()
    send_whole(service.port, small_study(20))
    service.wait_for_event("destination_unreachable", count=4)  # long enough down for the probes to have slowed
    assert service.study(study_uid(20))["state"] == StudyState.SCORED
    pacs.start()
    returned = time.monotonic()
    document = service.wait_for_state(study_uid(20), StudyState.DELIVERED)
    assert time.monotonic() - returned < DELIVERED_WITHIN_SECONDS
    assert len(pacs.reports(study_uid(20))) == 1
    assert _inferences(document) == 1


def test_a_pacs_that_does_not_know_us_parks_the_destination_until_retry(service: Service, pacs: ScriptedPacs) -> None:
    pacs.stop()
    pacs.rejects = True
    pacs.start()
    send_whole(service.port, small_study(21))
    alert = service.wait_for_event("destination_parked", level="error")
    assert alert["destination"] == "pacs1"
    assert not pacs.of_study(study_uid(21), stored=False)
    pacs.stop()
    pacs.rejects = False
    pacs.start()
    service.cli("studies", "retry", study_uid(21))
    service.wait_for_state(study_uid(21), StudyState.DELIVERED)
    assert len(pacs.reports(study_uid(21))) == 1


def test_killed_while_the_pacs_is_answering_the_same_bytes_go_again(service: Service, pacs: ScriptedPacs) -> None:
    """The PACS has the report and the reporter dies before it hears so: one UID, one content, however often it is sent."""
    asked, go_on = threading.Event(), threading.Event()

    def slow_the_first_time(_request: object) -> int:
        if not asked.is_set():
            asked.set()
            assert go_on.wait(60)
        return SUCCESS

    pacs.answer = slow_the_first_time
    send_whole(service.port, small_study(30))
    assert asked.wait(60), service.tail()
    assert [d["state"] for d in service.study(study_uid(30))["deliveries"]] == [DeliveryState.SENT]
    service.kill("reporter")
    go_on.set()
    document = service.wait_for_state(study_uid(30), StudyState.DELIVERED)
    sent = wait_until(lambda: len(s := pacs.reports(study_uid(30))) == 2 and s, "it was sent twice")
    assert sent[0].sop_instance_uid == sent[1].sop_instance_uid
    assert sent[0].data == sent[1].data
    assert [(j["kind"], j["attempts"]) for j in document["jobs"]] == [("infer", 1), ("report", 1)]


def test_own_results_sent_back_start_nothing(service: Service, pacs: ScriptedPacs) -> None:
    """A PACS that forwards all it has, images and results, back to the node, twice; the loop guard counts the results."""
    study = small_study(40)
    send_whole(service.port, study)
    before = service.wait_for_state(study_uid(40), StudyState.DELIVERED)
    results = pacs.of_study(study_uid(40))
    jobs, requests = len(service.rows(job_rows)), len(pacs.requests)
    for _ in range(2):
        send_whole(service.port, [*study, *(r.dataset for r in results)], calling=PACS)
    wanted = {r.sop_instance_uid: 2 for r in results}
    wait_until(
        lambda: (
            wanted.items() <= {row.sop_instance_uid: row.times for row in service.rows(own_object_returned)}.items()
        ),
        "the loop guard has counted them",
        context=service.tail,
    )
    send_whole(service.port, small_study(41))  # something that is scored after them
    service.wait_for_state(study_uid(41), StudyState.DELIVERED)
    assert service.study(study_uid(40)) == before
    assert len(service.rows(job_rows)) == jobs + 2
    assert {r.study_instance_uid for r in pacs.requests[requests:]} == {study_uid(41)}


def _inferences(document: dict[str, object]) -> int:
    jobs = document["jobs"]
    assert isinstance(jobs, list)
    return sum(j["attempts"] for j in jobs if j["kind"] == "infer")
