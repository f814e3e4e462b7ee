"""Results by STOW-RS to Orthanc's DICOMweb plugin, proven there by QIDO-RS: all of them, one that it drops, some with kills."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.delivery import VICTIMS, run, wrong_objects
from benchmarks.orthanc_site import site
from egfr_dls import settings
from egfr_dls.store import open_store
from reporting import proof_rules
from tests.reporting.deliveries import Desk, object_uid
from tests.system.orthanc import DICOMWEB_PLUGIN, DICOMWEB_URL, NODE_PORT, NetworkNamespace, Orthanc, running_orthanc
from tests.system.scanner import send_whole
from tests.system.service import running_service
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom

pytestmark = [
    pytest.mark.system,
    pytest.mark.orthanc,
    pytest.mark.skipif(not DICOMWEB_PLUGIN.exists(), reason="orthanc: not installed: orthanc-dicomweb"),
]
KINDS = ("roi", "report", "pages", "map", "pdf")
FILTER = "function ReceivedInstanceFilter(dicom, origin) return {} end\n"


def test_every_kind_of_result_is_there_once_as_it_was_kept_and_found(
    tmp_path: Path, namespace: NetworkNamespace, orthanc: Orthanc
) -> None:
    phantom = make_phantom(4)
    uid = phantom.study_instance_uid
    sections, _ = site(tmp_path, "stow", map=True, pdf=True)
    with running_service(tmp_path / "node", sections, prefix=namespace.prefix) as service:
        namespace.call(send_whole, NODE_PORT, list(phantom_datasets(phantom, RoiKind.NONE).values()))
        document = service.wait_until_all_is_sent(uid)
        assert {d["kind"]: d["state"] for d in document["deliveries"]} == dict.fromkeys(KINDS, "verified")
        assert [d["attempts"] for d in document["deliveries"]] == [1] * len(KINDS)
        assert wrong_objects(service, orthanc, [uid]) == []


def test_object_that_orthanc_drops_but_names_as_stored_goes_again(tmp_path: Path, namespace: NetworkNamespace) -> None:
    """Its filter takes no pages, and its STOW-RS answers 200 all the same: the query tells; the others are proven."""
    script = tmp_path / "filter.lua"
    script.write_text(FILTER.format(f"dicom.SOPInstanceUID ~= '{object_uid(1, 'pages')}'"), encoding="ascii")
    destination = {"name": "pacs", "transport": "stow", "url": DICOMWEB_URL}
    storage = {"root": tmp_path / "store", "min_free_bytes": 0}
    loaded = settings.load(None, {"storage": storage, "destinations": [destination]})
    with running_orthanc(tmp_path / "orthanc", namespace, script) as orthanc, open_store(loaded) as store:
        work = Desk(loaded, store)
        work.keep()
        assert namespace.call(work.send) == 3
        assert set(work.states().values()) == {"stored"}
        for _ in range(proof_rules.QUERIES):
            namespace.call(work.prove)
            work.now += max(proof_rules.QUERY_SECONDS)
        assert work.states() == {"roi": "verified", "report": "verified", "pages": "queued"}
        assert work.rows()["pages"].reason == "NOT_THERE"
        script.write_text(FILTER.format("true"), encoding="ascii")
        orthanc.kill()
        orthanc.start()
        assert namespace.call(work.send) == 1
        namespace.call(work.prove)
        assert set(work.states().values()) == {"verified"}
        assert len(orthanc.get("/instances")) == 3


def test_killed_on_the_way_every_object_is_there_once(tmp_path: Path) -> None:
    """The small version of `python -m benchmarks.delivery --way stow`."""
    if os.geteuid() != 0:
        pytest.skip("orthanc: needs root, to make a network namespace")
    found = run(tmp_path, 5, seed=7, way="stow")
    assert min(found.kills[victim] for victim in VICTIMS) >= 1
    assert (found.delivered, found.wrong) == (5, [])
    assert found.states == {"verified": 10}
