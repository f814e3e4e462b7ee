"""Storage commitment by the running service: killed between answer and report; Orthanc as requester."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from listener.commitment.status import PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE
from tests.builders import to_part10
from tests.listener.requester import EXPLICIT, Requester, free_port, listening, ready, request
from tests.system.orthanc import (
    AE_TITLE,
    DICOM_PORT,
    NODE_PORT,
    NetworkNamespace,
    Orthanc,
)
from tests.system.service import NODE, SCANNER, Service, running_service, service_sections
from tests.system.study_data import of_modality, small_study

pytestmark = pytest.mark.system


def test_killed_between_answer_and_report_the_next_run_reports(tmp_path: Path, tiny_models: Path) -> None:
    """The whole service, while the requester waits on the open association."""
    requester = Requester(SCANNER, free_port())
    sections = _sections(tmp_path, tiny_models, {"ae_title": SCANNER, "host": "127.0.0.1", "port": requester.port})
    ct = of_modality(small_study(1), "CT")
    killed = Service(tmp_path, sections)
    try:
        killed.wait_until_ready()
        assoc = _associate(killed.port, ct)
        connection = assoc.dul.socket.socket  # pynetdicom drops it unclosed when the peer resets it
        assert {ready(assoc).send_c_store(ds).Status for ds in ct} == {0x0000}
        asked = request([*((ds.SOPClassUID, ds.SOPInstanceUID) for ds in ct), "1.2.3"], "1.2.3.4")
        assert ready(assoc).send_n_action(asked, 1, PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE)[0].Status == 0x0000
    finally:
        killed.clean_up()  # SIGKILL
    assoc.abort()
    connection.close()
    assert not killed.events("commitment_reported")
    with listening(requester), running_service(tmp_path, sections) as service:
        heard = requester.next()
        service.wait_for_event("commitment_reported")
        assert requester.heard.empty()
    assert (heard.event_type, heard.transaction_uid, heard.failed) == (2, "1.2.3.4", {"1.2.3": 0x0112})
    assert sorted(heard.committed) == sorted(str(ds.SOPInstanceUID) for ds in ct)


@pytest.mark.orthanc
def test_orthanc_hears_what_is_committed_and_what_is_not(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc, tiny_models: Path
) -> None:
    peer = {"ae_title": AE_TITLE, "host": "127.0.0.1", "port": DICOM_PORT}
    sections = _sections(tmp_path, tiny_models, peer)
    sections["listener"]["port"] = NODE_PORT
    ct = of_modality(small_study(2), "CT")
    named = [(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in ct]
    with running_service(tmp_path / "node", sections, prefix=namespace.prefix) as service:
        orthanc.send(*(orthanc.post("/instances", to_part10(ds))["ID"] for ds in ct))
        whole = orthanc.ask_for_commitment(*named)
        assert whole["Status"] == "Success"
        assert _uids(whole["Success"]) == {uid for _, uid in named}
        unknown, other_class = "1.2.3.4", ("1.2.840.10008.5.1.4.1.1.128", named[0][1])
        part = orthanc.ask_for_commitment(*named[1:], (named[0][0], unknown), other_class)
        assert part["Status"] == "Failure"
        assert _uids(part["Success"]) == {uid for _, uid in named[1:]}
        assert {one["SOPInstanceUID"]: one["FailureReason"] for one in part["Failures"]} == {
            unknown: 0x0112,
            named[0][1]: 0x0119,
        }
        service.wait_for_event("commitment_reported", count=2, status="0000")


def _sections(folder: Path, models: Path, peer: Mapping[str, object]) -> dict[str, Any]:
    return {**service_sections(folder, models), "listener.peers": [peer], "destinations": []}


def _associate(port: int, datasets: list[Dataset]) -> Association:
    ae = AE(SCANNER)
    ae.add_requested_context(PUSH_MODEL_CLASS, EXPLICIT)
    for uid in {ds.SOPClassUID for ds in datasets}:
        ae.add_requested_context(uid, EXPLICIT)
    assoc = ae.associate("127.0.0.1", port, ae_title=NODE)
    assert assoc.is_established
    return assoc


def _uids(items: list[dict[str, Any]]) -> set[str]:
    return {one["SOPInstanceUID"] for one in items}
