"""Results proven by Orthanc: it reports storage commitment on associations of its own, and is killed on the way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.delivery import VICTIMS, run
from tests.system.orthanc import AE_TITLE, DICOM_PORT, NODE_PORT, NetworkNamespace, Orthanc
from tests.system.scanner import send_whole
from tests.system.service import SCANNER, running_service, service_sections
from tests.system.study_data import small_study, study_uid

pytestmark = [pytest.mark.system, pytest.mark.orthanc]


@pytest.mark.parametrize("wanted", [True, False])
def test_orthanc_proves_every_object(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc, tiny_models: Path, wanted: bool
) -> None:
    with running_service(tmp_path, _sections(tmp_path, tiny_models, wanted), prefix=namespace.prefix) as service:
        namespace.call(send_whole, NODE_PORT, small_study(1))
        document = service.wait_until_all_is_sent(study_uid(1))
        assert {d["state"] for d in document["deliveries"]} == {"committed" if wanted else "verified"}
        assert len(document["deliveries"]) == len(orthanc.instances(study_uid(1), "SR", "SEG", "OT")) >= 2
        heard = [e["state"] for e in service.events("commitment_heard")]
        assert set(heard) == ({"all_committed"} if wanted else set())
        assert all(
            "association" in e for e in service.events("commitment_heard")
        )  # by the listener, on one of Orthanc's


def _sections(folder: Path, models: Path, wanted: bool) -> dict[str, Any]:
    sections = service_sections(folder, models, reporting={"pages": True}, listener={"port": NODE_PORT})
    sections["listener.peers"] = [{"ae_title": title, "host": "127.0.0.1"} for title in (SCANNER, AE_TITLE)]
    sections["destinations"] = [
        {
            "name": "orthanc",
            "ae_title": AE_TITLE,
            "host": "127.0.0.1",
            "port": DICOM_PORT,
            "storage_commitment": wanted,
            "retry_seconds": 0.5,
        }
    ]
    return sections


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_killed_on_the_way_every_object_is_there_once_and_committed(tmp_path: Path, way: str) -> None:
    """The small version of `python -m benchmarks.delivery`."""
    if os.geteuid() != 0:
        pytest.skip("orthanc: needs root, to make a network namespace")
    found = run(tmp_path, 5, seed=7, way=way)
    assert min(found.kills[victim] for victim in VICTIMS) >= 1
    assert (found.delivered, found.wrong) == (5, [])
    assert found.states == {"committed": 10}
