"""The service beside an Orthanc in a network namespace, and the ways by which results go to it and are proven there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.inference.packages import network, write_package
from tests.listener.certificates import SERVER, Authority
from tests.system.orthanc import AE_TITLE, DICOM_PORT, DICOMWEB_URL, NODE_PORT
from tests.system.service import NODE, SCANNER, service_sections

RETRY_SECONDS: Final = 0.5
TLS_PORT: Final = 2762
HERE: Final = "IP:127.0.0.1"
Site: TypeAlias = tuple[dict[str, Any], dict[str, Any]]  # the node's sections, and Orthanc's keys


def site(folder: Path, way: str, models: Path | None = None, **reporting: object) -> Site:
    """Return the configurations of both; results go by ``way``, one of ``WAYS``. ``models``: else the shipped networks."""
    node, orthanc = WAYS[way](folder)
    sections = service_sections(folder / "node", models or folder, reporting={"pages": True, **reporting})
    if models is None:
        del sections["inference"]["models"]
    sections["listener.peers"] = [{"ae_title": title, "host": "127.0.0.1"} for title in (SCANNER, AE_TITLE)]
    return {**sections, **node}, orthanc


def tiny_models(folder: Path) -> Path:
    """Write both networks in their smallest form, as research models."""
    write_package(folder / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(folder / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    return folder


def _dimse(*, commitment: bool) -> dict[str, Any]:
    where = {"name": "orthanc", "ae_title": AE_TITLE, "host": "127.0.0.1", "port": DICOM_PORT}
    destination = {**where, "storage_commitment": commitment, "retry_seconds": RETRY_SECONDS}
    return {"listener": {"port": NODE_PORT}, "destinations": [destination]}


def _by_tls(folder: Path) -> Site:
    """Results and reports of commitment go by TLS, with certificates of both sides."""
    authority = Authority(folder / "certificates")
    ours, theirs = (authority.issue(name, f"{SERVER},clientAuth", alternatives=HERE) for name in ("node", "orthanc"))
    files = {"certificate": str(ours.certificate), "key": str(ours.key), "ca": str(authority.certificate)}
    sections = _dimse(commitment=True)
    sections["listener.tls"] = {"port": TLS_PORT, **files}
    sections["destinations"][0] |= {f"tls.{key}": path for key, path in files.items()}
    return sections, {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(theirs.certificate),
        "DicomTlsPrivateKey": str(theirs.key),
        "DicomTlsTrustedCertificates": str(authority.certificate),
        "DicomModalities": {"egfr": {"AET": NODE, "Host": "127.0.0.1", "Port": TLS_PORT, "UseDicomTls": True}},
    }


def _by_stow(_folder: Path) -> Site:
    destination = {"name": "orthanc", "transport": "stow", "url": DICOMWEB_URL, "retry_seconds": RETRY_SECONDS}
    return {"listener": {"port": NODE_PORT}, "destinations": [destination]}, {}


WAYS: Final[Mapping[str, Callable[[Path], Site]]] = {
    "plain": lambda _folder: (_dimse(commitment=True), {}),
    "tls": _by_tls,
    "stow": _by_stow,
    "query": lambda _folder: (_dimse(commitment=False), {}),
}
