"""What PACS gets of a study whose region came when its images were gone, and of one that was moved; in the running service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset

from tests.system.pacs import ScriptedPacs, StoreRequest, running_pacs
from tests.system.scanner import send_whole
from tests.system.service import running_service, service_sections
from tests.system.study_data import of_modality, small_study, study_uid
from tests.system.test_late_roi import delivered, predecessor
from tests.system.waiting import wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def own_pacs() -> Iterator[ScriptedPacs]:
    """A PACS for one test."""
    with running_pacs() as running:
        yield running


def corrected(number: int) -> Dataset:
    """Return the study's region as somebody has drawn it anew."""
    (seg,) = of_modality(small_study(number), "SEG")
    seg.SeriesInstanceUID = f"{seg.SeriesInstanceUID}.2"
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = f"{seg.SOPInstanceUID}.2"
    return seg


def says(report: StoreRequest, code: str) -> bool:
    return code in report.dataset.to_json()


def test_a_region_that_comes_too_late_is_reported_and_scored_when_the_images_come_again(
    tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs
) -> None:
    """Score; give up; the region: the study stays DELIVERED with its score, and PACS hears; the images: the next revision."""
    sections = service_sections(tmp_path, tiny_models, own_pacs.port, storage={"retention_days": 0})
    uid, seg = study_uid(41), corrected(41)
    with running_service(tmp_path, sections) as service:
        send_whole(service.port, small_study(41))
        first = delivered(service, uid, 1, 1)
    with running_service(tmp_path, sections) as service:
        wait_until(lambda: service.study(uid)["released_at"], "given up at the start", context=service.tail)
        send_whole(service.port, [seg])
        told = delivered(service, uid, 1, 2)
        assert (told["findings"], told["refusal_code"]) == (first["findings"], None)
        assert told["notice"]["code"] == "ROI_TOO_LATE"
        wait_until(lambda: len(own_pacs.reports(uid)) == 2, "the notice is there", context=service.tail)
        send_whole(service.port, of_modality(small_study(41), "PT", "CT"))
        third = delivered(service, uid, 3, 3)
    assert [x["roi_sop_instance_uid"] for x in third["findings"]["lesions"]] == [seg.SOPInstanceUID]
    assert (third["notice"], third["released_at"]) == (None, None)
    reports = own_pacs.reports(uid)
    assert [says(report, "ROI_TOO_LATE") for report in reports] == [False, True, False]
    assert [predecessor(r) for r in reports[1:]] == [r.sop_instance_uid for r in reports[:2]]


def test_a_study_that_was_moved_with_its_uids_is_refused_by_name(
    tmp_path: Path, tiny_models: Path, own_pacs: ScriptedPacs
) -> None:
    """The study that had them first stays as it is; a person may have the other one scored."""
    moved = f"{study_uid(42)}.1001"
    with running_service(tmp_path, service_sections(tmp_path, tiny_models, own_pacs.port)) as service:
        send_whole(service.port, small_study(42))
        first = delivered(service, study_uid(42), 1, 1)
        send_whole(service.port, small_study(42, StudyInstanceUID=moved))
        refused = delivered(service, moved, 1, 1)
        assert (refused["refusal_code"], refused["conflict"]) == ("INSTANCE_UID_CONFLICT", True)
        assert f"study {study_uid(42)} holds 16" in refused["findings"]["refusal"]["message"]
        assert service.study(study_uid(42)) == first
        service.cli("studies", "force", moved)
        assert delivered(service, moved, 2, 2)["findings"]["status"] == "scored"
    reports = own_pacs.reports(moved)
    assert [says(report, "INSTANCE_UID_CONFLICT") for report in reports] == [True, False]
    assert predecessor(reports[1]) == reports[0].sop_instance_uid
