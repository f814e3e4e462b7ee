"""The whole service with TLS only: a study comes in through two receivers while the certificate is renewed."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from egfr_dls.errors import ExitCode
from egfr_dls.study import StudyState
from tests.listener.certificates import SERVER, Authority
from tests.system.pacs import ScriptedPacs
from tests.system.scanner import SCANNER, store
from tests.system.service import NODE, Service, free_port, running_service, service_sections
from tests.system.study_data import small_study, study_uid
from tests.system.waiting import wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of one test."""
    return Authority(tmp_path / "certificates")


def sections_with_tls(folder: Path, models: Path, authority: Authority, *pacs_ports: int) -> dict[str, Any]:
    """Return a configuration without a plain port, whose SCANNER needs its certificate."""
    sections = service_sections(folder, models, *pacs_ports)
    del sections["listener"]["port"]
    sections["listener"]["workers"] = 2
    own = authority.issue("node", SERVER)
    files = {"certificate": own.certificate, "key": own.key, "ca": authority.certificate}
    sections["listener.tls"] = {"port": free_port(), **{key: str(path) for key, path in files.items()}}
    sections["listener.peers"][0]["certificate_names"] = ["scanner.example"]
    return sections


def associate(port: int, study: Sequence[Dataset], context: ssl.SSLContext) -> Association:
    ae = AE(SCANNER)
    for sop_class, syntax in sorted({(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in study}):
        ae.add_requested_context(sop_class, syntax)
    assoc = ae.associate("127.0.0.1", port, ae_title=NODE, tls_args=(context, "localhost"))
    assert assoc.is_established
    return assoc


def test_a_study_by_tls_while_the_certificate_is_renewed(
    tmp_path: Path, tiny_models: Path, pacs: ScriptedPacs, authority: Authority
) -> None:
    sections = sections_with_tls(tmp_path, tiny_models, authority, pacs.port)
    study, port = small_study(31), sections["listener.tls"]["port"]
    context = authority.issue("scanner").context(authority.certificate)
    with running_service(tmp_path, sections) as service:
        for number, ds in enumerate(study):
            assoc = associate(port, study, context)
            assert store(assoc, ds) == 0
            assoc.release()
            if number == 2:
                authority.issue("node", SERVER)
                wait_until(lambda: service.events("certificate_renewed"), "renewed", context=service.tail)
        document = service.wait_for_state(study_uid(31), StudyState.DELIVERED)
        assert document["instances"] == len(study)
        assert not service.events("handshake_failed")
    assert len(pacs.reports(study_uid(31))) == 1


def test_a_key_that_is_missing_ends_the_service(tmp_path: Path, tiny_models: Path, authority: Authority) -> None:
    sections = sections_with_tls(tmp_path, tiny_models, authority)
    key = Path(sections["listener.tls"]["key"])
    key.unlink()
    service = Service(tmp_path, sections)
    try:
        assert service.process.wait(60) == ExitCode.CONFIGURATION, service.tail()
        assert f"listener.tls.key {key}: No such file or directory; needed: " in service.tail()
    finally:
        service.clean_up()
