"""What a study lacks is fetched from Orthanc 1.10.1 by the running service, and the report says so."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from egfr_dls.ledger.schema import instance
from egfr_dls.study import StudyState
from tests.builders import to_part10
from tests.system.orthanc import (
    AE_TITLE,
    DICOM_PORT,
    DICOMWEB_PLUGIN,
    DICOMWEB_URL,
    NODE_PORT,
    NetworkNamespace,
    Orthanc,
)
from tests.system.scanner import send_whole
from tests.system.service import SCANNER, running_service, service_sections
from tests.system.study_data import of_modality, small_study, study_uid

pytestmark = [pytest.mark.system, pytest.mark.orthanc]


DICOMWEB = {"transport": "dicomweb", "url": DICOMWEB_URL}


def sections(folder: Path, models: Path, **source: object) -> dict[str, Any]:
    """Return a configuration with Orthanc as peer, destination and source."""
    if source.get("transport") == "dicomweb" and not DICOMWEB_PLUGIN.exists():
        pytest.skip("not installed: orthanc-dicomweb")
    made = service_sections(folder, models, listener={"port": NODE_PORT})
    where = {"ae_title": AE_TITLE, "host": "127.0.0.1", "port": DICOM_PORT}
    made["listener.peers"] = [{"ae_title": title, "host": "127.0.0.1"} for title in (SCANNER, AE_TITLE)]
    made["destinations"] = [{"name": "orthanc", **where}]
    made["sources"] = [{"name": "archive", **({} if "transport" in source else where), **source}]
    return made


def texts(ds: Dataset) -> list[str]:
    """Return every text of a structured report."""
    found = [str(ds.TextValue)] if "TextValue" in ds else []
    return [*found, *(text for item in ds.get("ContentSequence", []) for text in texts(item))]


@pytest.mark.parametrize(
    ("source", "caller"),
    [({"retrieve": "c-get"}, AE_TITLE), ({"retrieve": "c-move"}, AE_TITLE), (DICOMWEB, "archive")],
    ids=["c-get", "c-move", "dicomweb"],
)
def test_ct_and_segmentation_are_fetched_and_the_study_is_scored(
    tmp_path: Path,
    namespace: NetworkNamespace,
    orthanc: Orthanc,
    tiny_models: Path,
    source: dict[str, str],
    caller: str,
) -> None:
    study, uid = small_study(1), study_uid(1)
    for ds in study:
        orthanc.post("/instances", to_part10(ds))
    folder = tmp_path / "node"
    with running_service(folder, sections(folder, tiny_models, **source), prefix=namespace.prefix) as service:
        namespace.call(send_whole, NODE_PORT, of_modality(study, "PT"))
        document = service.wait_for_state(uid, StudyState.DELIVERED, seconds=120)
        assert document["instances"] == len(study)
        assert {row.calling_ae_title for row in service.rows(instance)} == {SCANNER, caller}
        fetched = [w["message"] for w in document["findings"]["warnings"] if w["code"] == "SERIES_FETCHED"]
        assert [message.split(" series ")[0] for message in fetched] == ["8 instances of CT", "1 instance of SEG"]
        assert all("from source archive" in message for message in fetched)
        (lesion,) = document["findings"]["lesions"]
        assert lesion["roi_source"] == "stored_seg"
        (report,) = (dcmread(BytesIO(orthanc.file(i))) for i in orthanc.instances(uid, "SR"))
        assert [text for text in texts(report) if "SERIES_FETCHED" in text] == [f"SERIES_FETCHED: {m}" for m in fetched]
        assert [j["kind"] for j in document["jobs"]] == ["infer", "report"]  # one analysis, of the whole
        assert len(service.events("source_asked")) == 1  # neither what came nor the report that went out asks anew


def test_a_source_that_is_down_leaves_the_study_to_its_force_time(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc, tiny_models: Path
) -> None:
    folder = tmp_path / "node"
    configuration = sections(folder, tiny_models, port=DICOM_PORT + 1)
    configuration["study"] = {**configuration["study"], "force_seconds": 3}
    with running_service(folder, configuration, prefix=namespace.prefix) as service:
        namespace.call(send_whole, NODE_PORT, of_modality(small_study(2), "PT"))
        document = service.wait_for_state(study_uid(2), StudyState.DELIVERED, seconds=120)
        assert document["refusal_code"] == "SERIES_MISSING"
        assert service.events("source_failed", reason="UNREACHABLE")


@pytest.mark.parametrize("source", [{}, DICOMWEB], ids=["c-get", "dicomweb"])
def test_a_node_with_an_empty_ledger_finds_the_patients_earlier_result_in_pacs(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc, tiny_models: Path, source: dict[str, str]
) -> None:
    who = {"PatientID": "4711", "IssuerOfPatientID": "SITE"}
    first, second = small_study(3, **who, StudyDate="20240229"), small_study(4, **who, StudyDate="20250601")
    for ds in (*first, *second):
        orthanc.post("/instances", to_part10(ds))
    for folder, study in ((tmp_path / "before", first), (tmp_path / "after", second)):
        with running_service(folder, sections(folder, tiny_models, **source), prefix=namespace.prefix) as service:
            namespace.call(send_whole, NODE_PORT, study)
            document = service.wait_for_state(str(study[0].StudyInstanceUID), StudyState.DELIVERED, seconds=120)
            if study is first:
                score = document["findings"]["patient"]["egfr_dls"]
                assert document["findings"]["priors"] == []
    assert document["findings"]["priors"] == [
        {
            "study_date": "2024-02-29",
            "egfr_dls": score,
            "pdl1_dls": document["findings"]["priors"][0]["pdl1_dls"],
            "source": "archive",
            "demonstration": False,
            "model": "tiny-egfr 1.0.0",
            "comparable": True,
        }
    ]
    (report,) = (dcmread(BytesIO(orthanc.file(i))) for i in orthanc.instances(study_uid(4), "SR"))
    assert f"Earlier EGFR-DLS: 2024-02-29 {score:.4f} (tiny-egfr 1.0.0)." in texts(report)
