"""The service beside Orthanc 1.10.1: as the PACS that gets the results, and as the router that sends studies."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from shutil import rmtree
from typing import Any

import highdicom
import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import select

from egfr_dls.ledger.schema import job as job_rows
from egfr_dls.ledger.schema import own_object_returned
from egfr_dls.study import StudyState
from tests.builders import to_part10
from tests.conftest import REPOSITORY
from tests.system.orthanc import (
    AE_TITLE,
    DICOM_PORT,
    NODE_PORT,
    NetworkNamespace,
    Orthanc,
    running_orthanc,
)
from tests.system.scanner import send_whole
from tests.system.service import SCANNER, Service, running_service, service_sections
from tests.system.study_data import small_study, study_uid
from tests.system.validators import dcentvfy_faults, dciodvfy_errors
from tests.system.waiting import wait_until
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom

pytestmark = [pytest.mark.system, pytest.mark.orthanc]

AUTOROUTE = REPOSITORY / "deploy" / "orthanc" / "egfr-autoroute.lua"
REAL_STUDY = "petct_lung_acrin042"
REAL_INSTANCES = 412
RESULT_MODALITIES = ("SR", "SEG", "OT")


@pytest.mark.dcmtk
@pytest.mark.dicom3tools
@pytest.mark.shared_data
def test_a_real_study_sent_by_dcmtk_comes_back_as_report_region_and_pages(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc, shared_data: Path
) -> None:
    """JPEG-LS as stored; no region is marked as the tumour; then the site names one, and the next revision takes it."""
    folder = tmp_path / "node"
    with running_service(folder, _sections(folder), prefix=namespace.prefix) as service:
        _storescu(namespace, shared_data / REAL_STUDY)
        uid = _only_study(service)
        document = service.wait_until_all_is_sent(uid, seconds=300)
        assert len(service.durable_instances()) == document["instances"] == REAL_INSTANCES
        assert "ROI_AMBIGUOUS" in {w["code"] for w in document["findings"]["warnings"]}
        assert {lesion["roi_source"] for lesion in document["findings"]["lesions"]} == {"proposed"}
        assert _series_fates(document) == {
            "ct": ["CT"],
            "pet": ["PT"],
            "roi": ["SEG"] * 3,
            "PET_NOT_ATTENUATION_CORRECTED": ["PT"],
            "NOT_SELECTED": ["CT", "RWV", "RWV", "RWV"],
        }
        assert "LOCALIZER" in _why_not_selected(document, "CT")
        assert "PROPCNTS" in _why_not_selected(document, "PT")
        first = _results(orthanc, uid)
        assert sorted(first) == sorted(RESULT_MODALITIES)
        _assert_valid(tmp_path / "first", first)
        _assert_reads_back(first["SR"], document)
        assert first["SEG"].SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"

    sections = _sections(folder, **{"biomarkers.pet_ct_egfr": {"roi_label_pattern": "pt_segment_1"}})
    with running_service(folder, sections, prefix=namespace.prefix) as service:
        service.cli("studies", "force", uid)
        wait_until(lambda: service.study(uid)["revision"] == 2, "the next revision", seconds=300, context=service.tail)
        document = service.wait_until_all_is_sent(uid, seconds=300)
        (lesion,) = document["findings"]["lesions"]
        assert lesion["roi_source"] == "stored_seg"
        assert lesion["suv_max"] == pytest.approx(42.22, abs=0.01)
        reports = [dcmread(BytesIO(orthanc.file(i))) for i in orthanc.instances(uid, "SR")]
        assert len(reports) == 2
        assert len({ds.SeriesInstanceUID for ds in reports}) == 1
        assert len(orthanc.instances(uid, "SEG")) == 1  # a stored region is referred to, never copied
    said = service.log_file.read_text(encoding="utf-8")  # of both runs
    assert not [value for value in _identifiers(shared_data / REAL_STUDY) if value in said]


@pytest.mark.dcmtk
@pytest.mark.shared_data
def test_the_same_region_is_proposed_and_drawn_where_no_segmentation_was_sent(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc, shared_data: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for series in (shared_data / REAL_STUDY).iterdir():
        if series.name.startswith(("CT_CT", "PT_PET_AC")):
            (images / series.name).symlink_to(series)
    folder = tmp_path / "node"
    with running_service(folder, _sections(folder), prefix=namespace.prefix) as service:
        for series in sorted(images.iterdir()):
            _storescu(namespace, series.resolve())
        uid = _only_study(service)
        document = service.wait_until_all_is_sent(uid, seconds=300)
    assert "ROI_AMBIGUOUS" not in {w["code"] for w in document["findings"]["warnings"]}
    assert "ROI_PROPOSED" in {w["code"] for w in document["findings"]["warnings"]}
    lesion = document["findings"]["lesions"][0]
    assert lesion["roi_source"] == "proposed"
    assert lesion["suv_max"] == pytest.approx(42.22, abs=0.01)  # the right hilar mass
    drawn = _results(orthanc, uid)["SEG"]
    assert [s.SegmentLabel for s in drawn.SegmentSequence] == [x["label"] for x in document["findings"]["lesions"]]
    assert drawn.pixel_array.any()


def test_orthanc_routes_a_study_to_the_node_and_the_report_is_not_routed_again(
    tmp_path: Path, namespace: NetworkNamespace
) -> None:
    """The Lua script that is shipped; the study becomes stable a second time when its report comes back."""
    folder, phantom = tmp_path / "node", make_phantom(4)
    uid = phantom.study_instance_uid
    with (
        running_orthanc(tmp_path / "orthanc", namespace, AUTOROUTE) as orthanc,
        running_service(folder, _sections(folder), prefix=namespace.prefix) as service,
    ):
        files = phantom_datasets(phantom, RoiKind.SEG)
        for ds in files.values():
            orthanc.post("/instances", to_part10(ds))
        document = service.wait_until_all_is_sent(uid, seconds=300)
        assert document["instances"] == len(files)
        assert document["findings"]["status"] == "scored"
        assert len(orthanc.instances(uid, "SR")) == 1
        wait_until(lambda: _times_stable(orthanc) >= 2, "the study is stable again", context=orthanc.tail)
        assert len(orthanc.get("/jobs")) == 1
        assert not service.rows(own_object_returned)
        assert [j["kind"] for j in service.study(uid)["jobs"]] == ["infer", "report"]


def test_an_orthanc_that_was_killed_gets_its_results_after_its_restart(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc, tiny_models: Path
) -> None:
    folder = tmp_path / "node"
    with running_service(folder, _sections(folder, tiny_models), prefix=namespace.prefix) as service:
        orthanc.kill()
        namespace.call(send_whole, NODE_PORT, small_study(1))
        service.wait_for_event("destination_unreachable", count=2)
        orthanc.start()
        service.wait_for_state(study_uid(1), StudyState.DELIVERED)
        assert len(orthanc.instances(study_uid(1), "SR")) == 1


def test_an_orthanc_that_lost_everything_gets_it_again_and_a_withdrawal_is_there_and_proven(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc, tiny_models: Path
) -> None:
    folder = tmp_path / "node"
    with running_service(folder, _sections(folder, tiny_models), prefix=namespace.prefix) as service:
        namespace.call(send_whole, NODE_PORT, small_study(3))
        uid = study_uid(3)
        before = service.wait_until_all_is_sent(uid)
        assert {d["state"] for d in before["deliveries"]} == {"verified"}
        contents = {m: orthanc.file(i) for m in ("SR", "OT") for i in orthanc.instances(uid, m)}
        orthanc.kill()
        rmtree(tmp_path / "orthanc" / "storage")
        orthanc.start()
        assert orthanc.instances(uid, "SR", "OT") == []
        for _ in range(2):  # the second time everything is there: nothing is doubled
            service.cli("studies", "replay", uid, "--to", "orthanc")
            after = service.wait_until_all_is_sent(uid)
            assert {d["state"] for d in after["deliveries"]} == {"verified"}
            again = {m: orthanc.file(i) for m in ("SR", "OT") for i in orthanc.instances(uid, m)}
            assert {m: dcmread(BytesIO(data)) for m, data in again.items()} == {
                m: dcmread(BytesIO(data)) for m, data in contents.items()
            }
            assert len(orthanc.instances(uid, "SR", "OT")) == 2

        service.cli("studies", "withdraw", uid, "--reason", "Wrong patient position.", "--by", "Rita")
        (name,) = wait_until(lambda: orthanc.instances(uid, "KO"), "the note", context=service.tail)
        note = dcmread(BytesIO(orthanc.file(name)))
        series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        rejected = {i.ReferencedSOPInstanceUID for s in series for i in s.ReferencedSOPSequence}
        assert rejected == {d["sop_instance_uid"] for d in before["deliveries"]}
        document = service.wait_until_all_is_sent(uid)
        assert {d["kind"]: d["state"] for d in document["deliveries"]}["rejection"] == "verified"
        (tmp_path / "note.dcm").write_bytes(to_part10(note))
        assert dciodvfy_errors(tmp_path / "note.dcm") == []


def test_an_orthanc_that_forwards_everything_starts_no_loop(
    tmp_path: Path, namespace: NetworkNamespace, tiny_models: Path
) -> None:
    """Each result that arrives there comes straight back; it is counted and nothing more is made."""
    script = tmp_path / "forward.lua"
    script.write_text(
        "function OnStoredInstance(id, tags, metadata) SendToModality(id, 'egfr') end\n", encoding="ascii"
    )
    folder = tmp_path / "node"
    with (
        running_orthanc(tmp_path / "orthanc", namespace, script) as orthanc,
        running_service(folder, _sections(folder, tiny_models), prefix=namespace.prefix) as service,
    ):
        for ds in small_study(2):
            orthanc.post("/instances", to_part10(ds))
        service.wait_until_all_is_sent(study_uid(2))
        results = orthanc.instances(study_uid(2), "SR", "OT")
        assert len(results) == 2
        wait_until(
            lambda: len(service.rows(own_object_returned)) == len(results), "both came back", context=service.tail
        )
        wait_until(lambda: _is_idle(orthanc), "Orthanc has sent all that it has", context=orthanc.tail)
        assert orthanc.instances(study_uid(2), "SR", "OT") == results
        with service.ledger() as tx:
            assert list(tx.execute(select(job_rows.c.kind).order_by(job_rows.c.id)).scalars()) == ["infer", "report"]


def _sections(folder: Path, models: Path | None = None, **changes: dict[str, object]) -> dict[str, Any]:
    """Return a configuration with Orthanc as peer and destination, pages, and the shipped networks unless others are named."""
    sections = service_sections(
        folder, models or folder, reporting={"pages": True}, listener={"port": NODE_PORT}, **changes
    )
    if models is None:
        del sections["inference"]["models"]
    sections["listener.peers"] = [{"ae_title": title, "host": "127.0.0.1"} for title in (SCANNER, AE_TITLE)]
    sections["destinations"] = [{"name": "orthanc", "ae_title": AE_TITLE, "host": "127.0.0.1", "port": DICOM_PORT}]
    return sections


def _storescu(namespace: NetworkNamespace, folder: Path) -> None:
    """Send a folder as DCMTK does: only the contexts needed (-R), JPEG-LS among them (-xt)."""
    namespace.run("storescu", "-R", "-xt", "+sd", "+r", "-aet", SCANNER, "-aec", "EGFR_DLS", "127.0.0.1", str(NODE_PORT),
                  str(folder))  # fmt: skip


def _identifiers(study: Path) -> set[str]:
    """Return every UID, name, date and ID of the first image of each of the study's series."""
    found: set[str] = set()
    for series in study.iterdir():
        ds = dcmread(min(series.rglob("*.dcm")), stop_before_pixels=True)
        for element in ds.iterall():
            if element.VR in ("UI", "PN", "DA") or element.keyword in ("PatientID", "AccessionNumber", "StudyID"):
                values = element.value if element.VM > 1 else [element.value]
                found |= {str(v) for v in values if len(str(v)) >= 6 and not str(v).startswith("1.2.840.10008.")}
    assert len(found) > 50
    return found


def _only_study(service: Service) -> str:
    def found() -> str:
        with service.ledger() as tx:
            uids = list(tx.execute(select(job_rows.c.study_instance_uid).distinct()).scalars())
        return uids[0] if uids else ""

    return wait_until(found, "a study is complete", seconds=300, context=service.tail)


def _results(orthanc: Orthanc, study_instance_uid: str) -> dict[str, Dataset]:
    """Return our objects by modality; there is one of each."""
    names = {m: orthanc.instances(study_instance_uid, m) for m in RESULT_MODALITIES}
    assert {m: len(found) for m, found in names.items()} == dict.fromkeys(RESULT_MODALITIES, 1)
    return {m: dcmread(BytesIO(orthanc.file(found[0]))) for m, found in names.items()}


def _assert_valid(folder: Path, results: dict[str, Dataset]) -> None:
    folder.mkdir()
    paths = []
    for modality, ds in results.items():
        paths.append(folder / f"{modality}.dcm")
        paths[-1].write_bytes(to_part10(ds))
        assert dciodvfy_errors(paths[-1]) == [], modality
    assert dcentvfy_faults(paths) == []


def _assert_reads_back(report: Dataset, document: dict[str, Any]) -> None:
    """highdicom finds each lesion with its region, and the printed score."""
    document_tree = highdicom.sr.srread(BytesIO(to_part10(report)))
    lesions = document["findings"]["lesions"]
    groups = document_tree.content.get_volumetric_roi_measurement_groups()
    assert [g.tracking_uid for g in groups] == [x["tracking_uid"] for x in lesions]
    values = [m.value for m in groups[0].get_measurements()]
    assert lesions[0]["egfr_dls"] in values


def _series_fates(document: dict[str, Any]) -> dict[str, list[str]]:
    """Return role, or code of the reason -> modalities of the series, sorted."""
    fates: dict[str, list[str]] = {}
    for series in document["findings"]["series"]:
        fates.setdefault(series["role"] or series["reason"]["code"], []).append(series["modality"])
    return {fate: sorted(modalities) for fate, modalities in fates.items()}


def _why_not_selected(document: dict[str, Any], modality: str) -> str:
    series = [s for s in document["findings"]["series"] if s["modality"] == modality and s["role"] is None]
    (message,) = (s["reason"]["message"] for s in series)
    return str(message)


def _times_stable(orthanc: Orthanc) -> int:
    changes = orthanc.get("/changes?limit=10000")["Changes"]
    return sum(change["ChangeType"] == "StableStudy" for change in changes)


def _is_idle(orthanc: Orthanc) -> bool:
    return all(job["State"] == "Success" for job in orthanc.get("/jobs?expand"))
