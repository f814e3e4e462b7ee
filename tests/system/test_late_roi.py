"""A region that comes late, or is corrected: what PACS gets of it, in the running service."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from egfr_dls.ledger.schema import own_object_returned
from egfr_dls.study import StudyState
from tests.system.pacs import SUCCESS, ScriptedPacs, StoreRequest
from tests.system.scanner import send, send_whole
from tests.system.service import Service
from tests.system.waiting import wait_until
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom

pytestmark = pytest.mark.system

READER = "Reader^Rita"


def drawn(proposal: Dataset, uid_end: str, content_date: str) -> Dataset:
    """Return our proposal as a person's tool saves it: a new instance, edited, with its author and its date."""
    ds = deepcopy(proposal)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{proposal.StudyInstanceUID}.{uid_end}"
    ds.SeriesInstanceUID = f"{proposal.StudyInstanceUID}.77"
    ds.ContentCreatorName, ds.ContentDate, ds.ContentTime = READER, content_date, "101112"
    ds.Manufacturer, ds.ManufacturerModelName = "Workstation", "Editor"
    for segment in ds.SegmentSequence:
        segment.SegmentAlgorithmType = "SEMIAUTOMATIC"
    return ds


def predecessor(report: StoreRequest) -> str:
    """Return the SOP Instance UID of the report that this one replaces."""
    (evidence,) = report.dataset.PredecessorDocumentsSequence
    return str(evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def delivered(service: Service, uid: str, revision: int, analyses: int) -> dict[str, Any]:
    """Return the study once so many analyses are done and its revision is delivered."""

    def there() -> dict[str, Any] | None:
        document = service.study(uid)  # empty while it is not known
        done = [j for j in document.get("jobs", ()) if j["kind"] == "infer" and j["state"] == "done"]
        return document if document.get("state") == StudyState.DELIVERED and len(done) == analyses else None

    document: dict[str, Any] = wait_until(there, f"analysis {analyses}", seconds=300, context=service.tail)
    assert document["revision"] == revision
    return document


def test_a_persons_region_replaces_the_proposal_and_the_newest_counts(service: Service, pacs: ScriptedPacs) -> None:
    """Proposal; the proposal come back; drawn by a person; corrected; an older one that comes last."""
    phantom = make_phantom(9101)
    uid = phantom.study_instance_uid
    while set(send(service.port, list(phantom_datasets(phantom, RoiKind.NONE).values()))) != {SUCCESS}:
        continue  # pynetdicom's reader can swallow an answer on a busy machine; what is there already is so once
    first = delivered(service, uid, 1, 1)
    assert {x["roi_source"] for x in first["findings"]["lesions"]} == {"proposed"}
    (proposal,) = [r.dataset for r in pacs.of_study(uid) if r.sop_class_uid == SegmentationStorage]

    send_whole(service.port, [proposal])
    wait_until(lambda: service.rows(own_object_returned), "our proposal is known as ours", context=service.tail)

    by_hand = drawn(proposal, "78", "20240501")
    send_whole(service.port, [by_hand])
    second = delivered(service, uid, 2, 2)
    for lesion in second["findings"]["lesions"]:
        assert (lesion["roi_source"], lesion["confirmed"]) == ("stored_seg", True)
        assert (lesion["roi_drawn_by"], lesion["roi_drawn_at"]) == ("Reader Rita", "2024-05-01T10:11:12")
    assert "ROI_PROPOSED" not in {w["code"] for w in second["findings"]["warnings"]}

    corrected = drawn(proposal, "79", "20240502")
    send_whole(service.port, [corrected])
    third = delivered(service, uid, 3, 3)
    assert {x["roi_sop_instance_uid"] for x in third["findings"]["lesions"]} == {corrected.SOPInstanceUID}
    assert all(str(by_hand.SOPInstanceUID) in x["roi_instead_of"][0] for x in third["findings"]["lesions"])

    send_whole(service.port, [drawn(proposal, "80", "20240430")])
    assert delivered(service, uid, 3, 4)["findings"]["lesions"] == third["findings"]["lesions"]

    reports = pacs.reports(uid)
    assert len(reports) == 3
    assert [predecessor(r) for r in reports[1:]] == [r.sop_instance_uid for r in reports[:2]]
    said = " ".join(str(e.value) for e in reports[2].dataset.iterall() if e.keyword == "TextValue")
    assert "the stored region was made by Reader Rita on 2024-05-02 10:11:12" in said
    assert f"preferred to segment 1 'Lesion 1' of SEG {by_hand.SOPInstanceUID}" in said
    log = service.log_file.read_text(encoding="utf-8")
    assert not [word for word in ("Rita", "RITA", "Reader") if word in log]
