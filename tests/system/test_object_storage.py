"""The whole service with its spool in object storage: scored and delivered, through kills and a storage that hangs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.errors import ExitCode
from egfr_dls.store import open_spool
from egfr_dls.study import ReceivedInstance, StudyState
from tests.egfr_dls.spool.object_storage import BUCKET, S3Server, server_with_credentials
from tests.system.pacs import ScriptedPacs
from tests.system.scanner import association, send_whole, store
from tests.system.service import Service, running_service, service_sections
from tests.system.study_data import small_study, study_uid

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server, and credentials for it in the environment of what is started."""
    with server_with_credentials(tmp_path_factory.mktemp("s3")) as server:
        yield server


def sections(folder: Path, models: Path, endpoint: str, *pacs_ports: int, bucket: str = BUCKET) -> dict[str, Any]:
    """Return a configuration with the spool in a bucket, under a prefix of this folder's own."""
    made = service_sections(folder, models, *pacs_ports, storage={"engine": "s3"})
    return {**made, "storage.s3": {"bucket": bucket, "endpoint": endpoint, "prefix": f"system/{folder.name}"}}


def test_a_study_is_scored_and_delivered_from_a_bucket_also_after_a_kill(
    tmp_path: Path, tiny_models: Path, pacs: ScriptedPacs, storage: S3Server
) -> None:
    changes = sections(tmp_path, tiny_models, storage.endpoint, pacs.port)
    changes["listener"] |= {"workers": 2}  # processes that are forked before they speak to the storage
    with running_service(tmp_path, changes) as service:
        send_whole(service.port, small_study(71))
        assert service.wait_for_state(study_uid(71), StudyState.DELIVERED)["instances"] == len(small_study(71))
        service.kill("listener")
        service.wait_for_event("listening", count=2)
        send_whole(service.port, small_study(72))
        service.wait_for_state(study_uid(72), StudyState.DELIVERED)
        wanted = {str(ds.SOPInstanceUID) for n in (71, 72) for ds in small_study(n)}
        assert wanted <= service.durable_instances()
        assert not list((tmp_path / "root").rglob("*.seg")), "nothing of it lies on the disk"
        assert wanted == _in_bucket(service)
    assert [len(pacs.reports(study_uid(n))) for n in (71, 72)] == [1, 1]


def test_a_storage_that_hangs_is_answered_with_out_of_resources_and_forgotten(
    tmp_path: Path, tiny_models: Path, pacs: ScriptedPacs, storage: S3Server
) -> None:
    first, *rest = small_study(73)
    with running_service(tmp_path, sections(tmp_path, tiny_models, storage.endpoint, pacs.port)) as service:
        with association(service.port, [first, *rest]) as assoc:
            assert store(assoc, first) == 0x0000
            with storage.frozen():
                assert store(assoc, rest[0]) == 0xA700
            assert [store(assoc, ds) for ds in rest] == [0x0000] * len(rest)
        assert service.wait_for_state(study_uid(73), StudyState.DELIVERED)["instances"] == len(rest) + 1


def test_a_bucket_that_is_not_there_ends_the_start(tmp_path: Path, tiny_models: Path, storage: S3Server) -> None:
    service = Service(tmp_path, sections(tmp_path, tiny_models, storage.endpoint, bucket="no-such-bucket"))
    try:
        assert service.process.wait(60) == ExitCode.CONFIGURATION, service.tail()
        assert f"bucket no-such-bucket at {storage.endpoint} does not exist" in service.tail()
    finally:
        service.clean_up()


def _in_bucket(service: Service) -> set[str]:
    spool = open_spool(service.settings)
    found = (r.entry for name in spool.listeners() for r in spool.records(name, {}, everything=True))
    return {entry.sop_instance_uid for entry in found if isinstance(entry, ReceivedInstance)}
