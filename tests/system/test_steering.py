"""`egfr-dls studies withdraw`, `confirm` and `replay` on a service that runs, is stopped, or is killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from egfr_dls.delivery import DeliveryState
from egfr_dls.ledger.schema import audit
from egfr_dls.study import StudyState
from tests.system.pacs import ScriptedPacs, StoreRequest, running_pacs
from tests.system.scanner import send_whole
from tests.system.service import Service, running_service, service_sections
from tests.system.study_data import of_modality, small_study, study_uid
from tests.system.waiting import wait_until
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom

pytestmark = pytest.mark.system

REASON = ("--reason", "The region lies on the heart.", "--by", "Rita")


def delivered(service: Service, number: int) -> str:
    """Have a study scored and its report delivered; return its UID."""
    send_whole(service.port, small_study(number))
    service.wait_until_all_is_sent(study_uid(number))
    return study_uid(number)


def notes(pacs: ScriptedPacs, uid: str) -> list[StoreRequest]:
    return [r for r in pacs.of_study(uid) if r.sop_class_uid == KeyObjectSelectionDocumentStorage]


def named(note: Dataset) -> set[str]:
    series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    return {str(i.ReferencedSOPInstanceUID) for s in series for i in s.ReferencedSOPSequence}


def states(document: dict[str, Any]) -> dict[str, str]:
    return {d["kind"]: d["state"] for d in document["deliveries"]}


def test_a_withdrawn_result_is_rejected_where_it_was_sent_and_never_comes_again(
    service: Service, pacs: ScriptedPacs
) -> None:
    """Withdrawn twice, retried, the reporter killed, the study sent again: one report, one note."""
    uid = delivered(service, 50)
    (report,) = pacs.reports(uid)
    assert "rejection note goes to pacs1" in service.cli("studies", "withdraw", uid, *REASON)
    service.kill("reporter")
    document = service.wait_until_all_is_sent(uid)
    (note,) = wait_until(lambda: notes(pacs, uid), "the note", context=service.tail)
    assert named(note.dataset) == {report.sop_instance_uid}
    assert states(document) == {"report": DeliveryState.STORED, "rejection": DeliveryState.STORED}
    assert document["withdrawal"]["by"] == "Rita"

    service.cli("studies", "withdraw", uid, *REASON)
    service.cli("studies", "retry", uid)
    send_whole(service.port, small_study(50))
    delivered(service, 51)  # something that comes after it
    assert len(pacs.of_study(uid)) == 2
    assert (
        json.loads(service.cli("studies", "replay", uid, "--to", "pacs1", "--json", code=3))["refusal"]["code"]
        == "WITHDRAWN"
    )
    assert [row.action for row in service.rows(audit) if row.study_instance_uid == uid] == [
        "withdraw",
        "withdraw",
        "retry",
    ]
    assert not [line for line in service.log() if "heart" in json.dumps(line) or "Rita" in json.dumps(line)]


def test_the_next_revision_after_a_withdrawal_follows_nothing(service: Service, pacs: ScriptedPacs) -> None:
    uid = delivered(service, 52)
    service.cli("studies", "withdraw", uid, *REASON)
    wait_until(lambda: notes(pacs, uid), "the note", context=service.tail)
    (region,) = of_modality(small_study(52), "SEG")
    region.SOPInstanceUID = region.file_meta.MediaStorageSOPInstanceUID = f"{region.SOPInstanceUID}.9"
    region.ContentDate = "20991231"  # the newest region of a lesion counts
    send_whole(service.port, [region])
    wait_until(lambda: len(pacs.reports(uid)) == 2, "the next revision", context=service.tail)
    later = pacs.reports(uid)[1].dataset
    assert "PredecessorDocumentsSequence" not in later
    assert later.InstanceNumber == 2
    document = service.wait_until_all_is_sent(uid)
    assert (document["revision"], document["withdrawal"]) == (2, None)
    assert len(notes(pacs, uid)) == 1


def test_what_waits_for_a_pacs_that_is_down_never_goes_once_it_is_withdrawn(
    service: Service, pacs: ScriptedPacs
) -> None:
    pacs.stop()
    send_whole(service.port, small_study(53))
    service.wait_for_state(study_uid(53), StudyState.SCORED)
    wait_until(lambda: states(service.study(study_uid(53))), "the report is built", context=service.tail)
    assert "no note goes anywhere" in service.cli("studies", "withdraw", study_uid(53))
    pacs.start()
    delivered(service, 54)
    assert pacs.of_study(study_uid(53), stored=False) == []
    assert states(service.study(study_uid(53))) == {"report": DeliveryState.WITHDRAWN}


def test_replay_gives_a_destination_the_same_bytes_again_and_computes_the_same_score(
    service: Service, pacs: ScriptedPacs
) -> None:
    uid = delivered(service, 55)
    (first,) = pacs.reports(uid)
    document = json.loads(service.cli("studies", "replay", uid, "--to", "pacs1", "--json"))
    assert document["queued"] == 1
    _, again = wait_until(lambda: len(r := pacs.reports(uid)) == 2 and r, "it is sent again", context=service.tail)
    assert (again.sop_instance_uid, again.data) == (first.sop_instance_uid, first.data)
    assert states(service.wait_until_all_is_sent(uid)) == {"report": DeliveryState.STORED}
    assert "revision 1: same" in service.cli("studies", "replay", uid)
    assert len(pacs.of_study(uid)) == 2, "comparing sends nothing"
    service.cli("studies", "replay", uid, "--to", "elsewhere", code=2)


def test_a_service_that_is_stopped_sends_the_note_when_it_starts(tmp_path: Path, tiny_models: Path) -> None:
    with running_pacs() as pacs:
        sections = service_sections(tmp_path, tiny_models, pacs.port)
        with running_service(tmp_path, sections) as service:
            uid = delivered(service, 60)
        service.cli("studies", "withdraw", uid, *REASON)
        assert notes(pacs, uid) == []
        with running_service(tmp_path, sections) as service:
            (note,) = wait_until(lambda: notes(pacs, uid), "the note", context=service.tail)
            assert named(note.dataset) == {r.sop_instance_uid for r in pacs.reports(uid)}
            assert states(service.wait_until_all_is_sent(uid))["rejection"] == DeliveryState.STORED


def test_a_confirmed_proposal_is_reported_as_the_next_revision(service: Service, pacs: ScriptedPacs) -> None:
    phantom = make_phantom(9102)
    uid = phantom.study_instance_uid
    send_whole(service.port, list(phantom_datasets(phantom, RoiKind.NONE).values()))
    first = service.wait_for_state(uid, StudyState.DELIVERED, seconds=300)
    assert {x["confirmed"] for x in first["findings"]["lesions"]} == {False}
    assert b"Unverified ROI" in pacs.reports(uid)[0].data
    service.cli("studies", "confirm", uid, "--by", "Rita", "--revision", "1")
    wait_until(lambda: len(pacs.reports(uid)) == 2, "revision 2", seconds=300, context=service.tail)
    second = service.wait_until_all_is_sent(uid)
    assert second["revision"] == 2
    assert {x["confirmed"] for x in second["findings"]["lesions"]} == {True}
    assert {x["roi_confirmed_by"] for x in second["findings"]["lesions"]} == {"Rita"}
    scores = [[x["egfr_dls"] for x in document["findings"]["lesions"]] for document in (first, second)]
    assert scores[0] == scores[1], "the score does not depend on who looked"
    assert "ROI_PROPOSED" not in {w["code"] for w in second["findings"]["warnings"]}
    report = pacs.reports(uid)[1]
    assert b"Unverified ROI" not in report.data
    assert b"ROI-PROP-CONF" in report.data
    assert b"the proposed region was confirmed by Rita on " in report.data
    assert "PredecessorDocumentsSequence" in report.dataset
    assert "confirmed already by Rita" in service.cli("studies", "confirm", uid)
    assert not [line for line in service.log() if "Rita" in json.dumps(line)]
    assert (
        json.loads(service.cli("studies", "confirm", delivered(service, 56), "--json", code=3))["refusal"]["code"]
        == "NO_PROPOSAL"
    )
