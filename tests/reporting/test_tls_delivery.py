"""Results by TLS: who is trusted, who we are, and what is said where either is not believed."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # pynetdicom makes its SOP classes at run time

from egfr_dls.settings_sections import PeerTls
from reporting.probing import PROBE_CAP_SECONDS
from tests.listener.certificates import SERVER, Authority, Issued, mutual
from tests.reporting.deliveries import CLASSES, ScriptedPacs, desk, scripted_pacs
from tests.reporting.proving_pacs import SYNTAXES

# pynetdicom drops a socket that the peer has reset without closing it (transport.py, AssociationSocket._shutdown_socket).
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("dropped_here"),
]


@contextmanager
def secure_pacs(certificate: Issued, clients_of: Authority) -> Iterator[ScriptedPacs]:
    """Run a PACS that demands a client's certificate."""
    pacs, ae = ScriptedPacs(), AE("PACS")
    for sop_class in (Verification, *CLASSES.values()):
        ae.add_supported_context(sop_class, SYNTAXES)
    context = mutual(certificate, clients_of)
    handlers: list[Any] = [(evt.EVT_C_STORE, pacs.on_store)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context)
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        server.shutdown()


def said(root: Path, port: int, tls: PeerTls) -> tuple[int, set[str], set[str]]:
    """Send; return how many objects were settled, the reasons given, and the events about the destination."""
    with desk(root, port, tls=tls) as work, structlog.testing.capture_logs() as events:
        work.keep()
        settled = work.send()
        about = {e["event"] for e in events if e["event"].startswith("destination_")}
        return settled, {row.reason for row in work.rows().values()}, about


def test_both_sides_are_believed(tmp_path: Path, authority: Authority, pacs_certificate: Issued, ours: Issued) -> None:
    tls = PeerTls(ca=authority.certificate, certificate=ours.certificate, key=ours.key)
    with secure_pacs(pacs_certificate, authority) as pacs:
        assert said(tmp_path, pacs.port, tls) == (3, {""}, set())
        assert len(pacs.received) == 3


def test_pacs_of_an_unknown_authority_gets_nothing(
    tmp_path: Path, authority: Authority, pacs_certificate: Issued, ours: Issued
) -> None:
    elsewhere = Authority(tmp_path / "elsewhere", "elsewhere")
    tls = PeerTls(ca=elsewhere.certificate, certificate=ours.certificate, key=ours.key)
    with secure_pacs(pacs_certificate, authority) as pacs:
        found = said(tmp_path / "root", pacs.port, tls)
        assert found == (0, {"CERTIFICATE_NOT_TRUSTED"}, {"destination_parked"})
        assert pacs.received == []


def test_pacs_of_another_name_gets_nothing(tmp_path: Path, authority: Authority, ours: Issued) -> None:
    other = authority.issue("other", SERVER, alternatives="DNS:other.example")
    tls = PeerTls(ca=authority.certificate, certificate=ours.certificate, key=ours.key)
    with secure_pacs(other, authority) as pacs:
        assert said(tmp_path, pacs.port, tls) == (0, {"CERTIFICATE_NOT_TRUSTED"}, {"destination_parked"})


def test_pacs_that_misses_our_certificate_gets_nothing(
    tmp_path: Path, authority: Authority, pacs_certificate: Issued
) -> None:
    with secure_pacs(pacs_certificate, authority) as pacs:
        settled, reasons, _ = said(tmp_path, pacs.port, PeerTls(ca=authority.certificate))
        assert (settled, pacs.received) == (0, [])
        assert reasons <= {"CERTIFICATE_REFUSED", "UNREACHABLE"}  # its alert may be lost with the connection


def test_pacs_that_does_not_know_our_authority_gets_nothing(
    tmp_path: Path, authority: Authority, pacs_certificate: Issued
) -> None:
    stranger = Authority(tmp_path / "elsewhere", "elsewhere").issue("stranger")
    tls = PeerTls(ca=authority.certificate, certificate=stranger.certificate, key=stranger.key)
    with secure_pacs(pacs_certificate, authority) as pacs:
        settled, reasons, _ = said(tmp_path / "root", pacs.port, tls)
        assert (settled, pacs.received) == (0, [])
        assert reasons <= {"CERTIFICATE_REFUSED", "UNREACHABLE"}


class Plain(socketserver.StreamRequestHandler):
    """A service that speaks without TLS."""

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        self.rfile.read(1)  # a TLS client says something first


def test_peer_that_speaks_something_else_is_named_so(tmp_path: Path, authority: Authority) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Plain) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            found = said(tmp_path, int(server.server_address[1]), PeerTls(ca=authority.certificate))
        finally:
            server.shutdown()
            thread.join()
    assert found == (0, {"TLS_FAILED"}, {"destination_unreachable"})


def test_peer_without_tls_is_tried_again(tmp_path: Path, authority: Authority) -> None:
    with scripted_pacs() as pacs:
        settled, reasons, about = said(tmp_path, pacs.port, PeerTls(ca=authority.certificate))
        assert (settled, about) == (0, {"destination_unreachable"})
        assert reasons <= {"TLS_FAILED", "UNREACHABLE"}


def test_file_that_cannot_be_read_is_tried_again(tmp_path: Path, authority: Authority, ours: Issued) -> None:
    tls = PeerTls(ca=authority.certificate, certificate=ours.certificate, key=tmp_path / "missing.key")
    with scripted_pacs() as pacs:
        assert said(tmp_path, pacs.port, tls) == (0, {"TLS_FILE_UNREADABLE"}, {"destination_unreachable"})


def test_file_that_is_there_again_is_read(
    tmp_path: Path, authority: Authority, pacs_certificate: Issued, ours: Issued
) -> None:
    key = tmp_path / "late.key"
    tls = PeerTls(ca=authority.certificate, certificate=ours.certificate, key=key)
    with secure_pacs(pacs_certificate, authority) as pacs, desk(tmp_path / "root", pacs.port, tls=tls) as work:
        work.keep()
        sender = work.sender()
        assert work.send(sender) == 0
        key.write_bytes(ours.key.read_bytes())
        work.now += PROBE_CAP_SECONDS
        assert work.send(sender) == 3
