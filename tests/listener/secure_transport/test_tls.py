"""TLS on the listener: who gets in, what happens to everybody else, and certificates that change while it runs."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from egfr_dls import settings as configuration
from egfr_dls.errors import ConfigurationError
from egfr_dls.settings import Settings
from egfr_dls.settings_sections import ListenerTls
from listener.secure_transport.tls import DAY_SECONDS, Tls
from listener.upper_layer.server import Server
from tests.builders import ct_slices, petct_study, to_part10
from tests.listener.certificates import RSA, SERVER, Authority, Issued, client_context
from tests.listener.nodes import PEERS, Node, node_settings, running, until
from tests.listener.wire import Kept, Peer, echo, listener_settings, receiving, request, store

V1_1, V1_2, V1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
PLAIN, TLS = 0, 1  # where the ports stand


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    """A server's certificate."""
    return authority.issue("server", SERVER, kind=RSA)


@pytest.fixture(scope="module")
def client(authority: Authority) -> Issued:
    """The certificate of SCANNER."""
    return authority.issue("scanner-1", kind=RSA)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """A certificate of an authority that nobody knows."""
    return Authority(tmp_path_factory.mktemp("elsewhere"), "elsewhere").issue("scanner-1")


@pytest.fixture
def own(issued: Issued, tmp_path: Path) -> Issued:
    """The server's files, which a test may replace."""
    copied = Issued(tmp_path / "own.pem", tmp_path / "own.key")
    copied.key.touch(0o600)
    copied.replaced_by(issued)
    return copied


@pytest.fixture
def files(own: Issued, authority: Authority) -> dict[str, Any]:
    """The keys of [listener.tls]."""
    return {"port": 0, "certificate": str(own.certificate), "key": str(own.key), "ca": str(authority.certificate)}


def tls_settings(root: Path, files: dict[str, Any], **listener: Any) -> Settings:
    return node_settings(root, listener={"tls": files, **listener})


@pytest.fixture
def secure_node(tmp_path: Path, files: dict[str, Any]) -> Iterator[Node]:
    """A listener with both ports, whose SCANNER is bound to a certificate."""
    peers = [{**PEERS[0], "certificate_names": ["scanner-1.example"]}, PEERS[1]]
    with running(tls_settings(tmp_path / "root", files, peers=peers)) as node:
        yield node


def at(node: Node, door: int) -> Node:
    """Return the same node, called at another of its ports."""
    ports = [
        event["port"] for event in until(lambda: len(node.logged("listening")) == 2 and node.logged("listening"), "")
    ]
    return Node(node.settings, node.store, ports[door], node.events, node.stop)


def reasons(events: list[dict[str, Any]], event: str = "handshake_failed") -> list[str]:
    return [e["reason"] for e in events if e["event"] == event]


# --- who gets in ---


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_a_study_of_pynetdicom(
    secure_node: Node, authority: Authority, client: Issued, version: ssl.TLSVersion
) -> None:
    study = petct_study()
    context = client.context(authority.certificate, version, version)
    assoc = at(secure_node, TLS).associate(study, tls_args=(context, "localhost"))
    assert assoc.is_established
    assert [assoc.send_c_store(ds).Status for ds in study] == [0] * len(study)
    assoc.release()
    assert assoc.is_released
    until(lambda: len(secure_node.indexed()) == len(study), "all are indexed")


def test_an_ae_title_that_is_bound_needs_its_certificate(
    secure_node: Node, authority: Authority, client: Issued
) -> None:
    other = authority.issue("scanner-2")
    by_tls = at(secure_node, TLS)
    assert by_tls.rejected(tls=other.context(authority.certificate)) == (1, 1, 3)
    assert at(secure_node, PLAIN).rejected() == (1, 1, 3), "nor may it call without TLS"
    assert until(lambda: reasons(secure_node.events, "association_rejected"), "logged")[0] == "certificate"
    unbound = by_tls.associate(calling="PACS", tls_args=(other.context(authority.certificate), "localhost"))
    assert unbound.is_established
    unbound.release()
    at(secure_node, PLAIN).send(ct_slices()[:1], calling="PACS")


@pytest.mark.parametrize("name", ["SCANNER-1.example", "scanner-1", "CN=scanner-1,O=Hospital,C=DE"])
def test_each_kind_of_name_binds_also_where_any_peer_may_call(
    tmp_path: Path, files: dict[str, Any], authority: Authority, client: Issued, name: str
) -> None:
    peers = [{**PEERS[0], "host": "192.0.2.1", "certificate_names": ["another", name]}]
    with running(tls_settings(tmp_path / "root", files, peers=peers, accept_any_peer=True)) as node:
        by_tls = at(node, TLS)
        assoc = by_tls.associate(tls_args=(client.context(authority.certificate), "localhost"))
        assert assoc.is_established
        assoc.release()
        other = authority.issue("other").context(authority.certificate)
        assert by_tls.rejected(tls=other) == (1, 1, 3)


def test_without_a_port_beside_it_there_is_tls_only(tmp_path: Path, files: dict[str, Any]) -> None:
    root = tmp_path / "root"
    path = tmp_path / "egfr-dls.toml"
    path.write_text(
        f'[storage]\nroot = "{root}"\nmin_free_bytes = 0\n[listener]\nae_title = "X"\n[listener.tls]\n'
        + "\n".join(f"{key} = {value!r}" for key, value in files.items())
    )
    loaded = configuration.load(path)
    assert loaded.listener.port is None
    with running(loaded) as node:
        assert len(node.logged("listening")) == 1
        with Peer(node.port) as peer:
            peer.send(request())
            assert peer.answer() == (0, b"")


@pytest.mark.dcmtk
def test_a_study_of_dcmtk(
    secure_node: Node, authority: Authority, client: Issued, stranger: Issued, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for number, ds in enumerate(petct_study()):
        (folder / f"{number}.dcm").write_bytes(to_part10(ds))

    def send(shown: Issued) -> int:
        options = (
            "+tls",
            shown.key,
            shown.certificate,
            "+cf",
            authority.certificate,
            "-aet",
            "SCANNER",
            "-aec",
            "EGFR_DLS",
        )
        command = ["storescu", *map(str, options), "+sd", "localhost", str(at(secure_node, TLS).port), str(folder)]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode

    assert send(client) == 0
    until(lambda: len(secure_node.indexed()) == 16, "all are indexed")
    assert send(stranger) != 0
    assert reasons(secure_node.events) == ["certificate_authority"]


# --- who does not, at the level of bytes ---


@pytest.fixture
def kept() -> Kept:
    """What the receiver was given."""
    return Kept()


@pytest.fixture
def tls(files: dict[str, Any]) -> Tls:
    """The credentials in force."""
    return Tls(ListenerTls.model_validate(files))


@pytest.fixture
def server(kept: Kept, files: dict[str, Any], tls: Tls) -> Iterator[Server]:
    """A receiver with both ports."""
    with receiving(kept, listener_settings(tls=files, port=0, idle_seconds=2), secure=tls.stream) as started:
        yield started


class SecurePeer(Peer):
    """The other end, through TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port)
        self.socket = context.wrap_socket(self.socket)


def failure(server: Server, context: ssl.SSLContext) -> tuple[str, str]:
    """Return what a caller whose handshake fails is told, and the reason in the log."""
    with structlog.testing.capture_logs() as events:
        with pytest.raises((ssl.SSLError, ConnectionError)) as told, SecurePeer(server.ports[TLS], context) as peer:
            peer.send(request())  # with TLS 1.3 the alert comes after the client's last word
            peer.socket.recv(1)
        until(lambda: reasons(events), "logged")
    assert [e for e in events if e["log_level"] == "error"] == []
    return str(getattr(told.value, "reason", "")), reasons(events)[0]


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_certificates_that_do_not_let_in(
    server: Server, authority: Authority, stranger: Issued, version: ssl.TLSVersion
) -> None:
    trusted = authority.certificate
    for caller, told, logged in (
        (client_context(trusted, version, version), "ALERT", "no_certificate"),
        (stranger.context(trusted, version, version), "UNKNOWN_CA", "certificate_authority"),
        (authority.issue("late", days=-1).context(trusted, version, version), "EXPIRED", "certificate_expired"),
        (authority.issue("a-server", SERVER).context(trusted, version, version), "CERTIFICATE", "certificate_invalid"),
    ):
        alert, reason = failure(server, caller)
        assert reason == logged
        assert told in alert


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(server: Server, authority: Authority, client: Issued) -> None:
    old = client.context(authority.certificate, V1_1, V1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    alert, reason = failure(server, old)
    assert reason == "version"
    assert "PROTOCOL_VERSION" in alert


def test_a_caller_without_a_common_suite_and_one_that_does_not_trust_us(
    server: Server, authority: Authority, client: Issued, stranger: Issued
) -> None:
    weak = client.context(authority.certificate, V1_2, V1_2)
    weak.set_ciphers("AES256-SHA")
    assert failure(server, weak)[1] == "cipher_suite"
    assert failure(server, client.context(stranger.certificate))[1] == "refused_by_peer"


def test_plain_text_on_the_tls_port_and_tls_on_the_plain_port(
    server: Server, authority: Authority, client: Issued
) -> None:
    with structlog.testing.capture_logs() as events:
        for said in (request(), b"GET / HTTP/1.1\r\n\r\n"):
            with Peer(server.ports[TLS]) as peer:
                peer.send(said)
                assert peer.answer() == (0, b"")
        with pytest.raises(ssl.SSLError):
            SecurePeer(server.ports[PLAIN], client.context(authority.certificate))
        until(lambda: reasons(events, "association_aborted"), "logged")
    assert reasons(events)[:1] == ["plain_text"]
    assert reasons(events, "association_aborted") == ["unrecognised_pdu"]
    assert [e for e in events if e["log_level"] == "error"] == []


def hello(context: ssl.SSLContext) -> bytes:
    """Return a ClientHello."""
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


@pytest.mark.parametrize("length", [1, 40, None])
def test_half_a_handshake(server: Server, authority: Authority, client: Issued, length: int | None) -> None:
    with structlog.testing.capture_logs() as events:
        with Peer(server.ports[TLS]) as peer:
            peer.send(hello(client.context(authority.certificate))[:length])
        until(lambda: reasons(events), "logged")
    assert reasons(events) == ["broken_off"]


def test_garbage_for_a_handshake(server: Server, authority: Authority, client: Issued) -> None:
    said = bytearray(hello(client.context(authority.certificate)))
    said[5:9] = b"\xff\xff\xff\xff"
    with structlog.testing.capture_logs() as events, Peer(server.ports[TLS]) as peer:
        peer.send(bytes(said))
        until(lambda: reasons(events), "logged")
    assert reasons(events) == ["protocol"]


def test_a_handshake_that_stalls_ends_with_its_time_and_holds_up_nobody(
    files: dict[str, Any], tls: Tls, authority: Authority, client: Issued
) -> None:
    said = hello(client.context(authority.certificate))
    settings = listener_settings(tls=files, idle_seconds=1)
    with (
        structlog.testing.capture_logs() as events,
        receiving(Kept(), settings, secure=tls.stream) as server,
        Peer(server.ports[TLS]) as stalled,
        Peer(server.ports[TLS]) as slow,
    ):
        stalled.send(said[:40])
        with SecurePeer(server.ports[TLS], client.context(authority.certificate)) as other:
            other.associate().release()
        for byte in said[:-1]:
            slow.send(bytes([byte]))
            if stalled_out(slow):
                break
        for peer in (stalled, slow):
            while peer.socket.recv(1 << 16):
                pass
        until(lambda: reasons(events), "logged")
    assert set(reasons(events)) == {"request_timeout"}


def stalled_out(peer: Peer) -> bool:
    peer.socket.settimeout(0.01)
    try:
        return not peer.socket.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    finally:
        peer.socket.settimeout(20)


def test_a_thousand_of_them_are_a_line_a_second(server: Server) -> None:
    with structlog.testing.capture_logs() as events:
        for _ in range(200):
            with Peer(server.ports[TLS]) as peer:
                peer.send(b"GET")
                assert peer.answer() == (0, b"")
    assert 1 <= len(reasons(events)) <= 20


# --- bytes through TLS ---


@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("size", [0, 1, 16384, 200_000, 9_000_000])
def test_objects_of_every_size_arrive_as_they_are(
    server: Server, kept: Kept, authority: Authority, client: Issued, size: int, version: ssl.TLSVersion
) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    with SecurePeer(server.ports[TLS], client.context(authority.certificate, version, version)) as peer:
        peer.associate()
        peer.send(store(data + b"\0\0"), echo())
        assert peer.status() == 0
        assert peer.status() == 0
        peer.release()
        assert peer.socket.recv(1) == b"", "close_notify, then the end"
    assert kept.objects == [data + b"\0\0"]
    assert until(lambda: kept.told, "told") == ["released"]


def test_a_connection_cut_in_an_object_is_a_loss(
    server: Server, kept: Kept, authority: Authority, client: Issued
) -> None:
    with SecurePeer(server.ports[TLS], client.context(authority.certificate)) as peer:
        peer.associate()
        peer.send(store(bytes(10)), store(bytes(100_000))[:50_000])
        assert peer.status() == 0
    assert until(lambda: len(kept.told) == 2 and kept.told, "told") == ["discarded", "lost"]


def test_a_record_that_was_tampered_with_ends_the_association(
    server: Server, kept: Kept, authority: Authority, client: Issued
) -> None:
    to_us, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.context(authority.certificate).wrap_bio(to_us, out)
    with Peer(server.ports[TLS]) as peer:

        def talk(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    done = step()
                except ssl.SSLWantReadError:
                    peer.send(out.read())
                    to_us.write(peer.socket.recv(1 << 16))
                else:
                    peer.send(out.read())
                    return done

        talk(tls.do_handshake)
        talk(lambda: tls.write(request()))
        assert talk(lambda: tls.read(6))[0] == 2
        tls.write(store(bytes(1000)))
        record = bytearray(out.read())
        record[100] ^= 1
        peer.send(bytes(record))
        while peer.socket.recv(1 << 16):
            pass
    assert kept.objects == []


def test_one_thread_sends_while_another_receives(tls: Tls, authority: Authority, client: Issued) -> None:
    total, piece = 20_000_000, bytes(range(250)) * 400
    with socket.create_server(("127.0.0.1", 0)) as listening:
        called = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()

    def answer() -> None:
        """Send back what comes."""
        with client.context(authority.certificate).wrap_socket(called) as far:
            buffer = memoryview(bytearray(1 << 18))
            while count := far.recv_into(buffer):
                far.sendall(buffer[:count])

    def send() -> None:
        for _ in range(total // len(piece)):
            stream.sendall(piece)

    with ours:
        stream = tls.stream(ours)
        threads = [threading.Thread(target=answer), threading.Thread(target=send)]
        threads[0].start()
        stream.begin()
        threads[1].start()
        got, buffer = hashlib.sha256(), memoryview(bytearray(1 << 18))
        left = total
        while left:
            count = stream.recv_into(buffer)
            got.update(buffer[:count])
            left -= count
        threads[1].join()
        stream.finish()
        ours.shutdown(socket.SHUT_WR)
        threads[0].join()
    assert got.digest() == hashlib.sha256(piece * (total // len(piece))).digest()
    assert "scanner-1" in stream.certificate_names


# --- renewal ---


def presented(port: int, authority: Authority, client: Issued) -> str:
    """Return the common name that a receiver shows."""
    with SecurePeer(port, client.context(authority.certificate)) as peer:
        assert isinstance(peer.socket, ssl.SSLSocket)
        subject = dict(part[0] for part in peer.socket.getpeercert()["subject"])  # type: ignore[index, misc]  # typeshed
        peer.associate().release()
    return str(subject["commonName"])


def test_new_files_are_used_by_new_connections_and_open_ones_go_on(
    server: Server, own: Issued, authority: Authority, client: Issued
) -> None:
    port = server.ports[TLS]
    renewed = authority.issue("renewed", SERVER)
    with (
        structlog.testing.capture_logs() as events,
        SecurePeer(port, client.context(authority.certificate)) as open_one,
    ):
        open_one.associate()
        assert presented(port, authority, client) == "server"
        shutil.copy(renewed.certificate, own.certificate)
        assert presented(port, authority, client) == "server", "the key is still the old one's"
        assert presented(port, authority, client) == "server"
        shutil.copy(renewed.key, own.key)
        assert presented(port, authority, client) == "renewed"
        open_one.send(echo())
        assert open_one.status() == 0
        open_one.release()
    said = [(e["event"], e.get("error_code")) for e in events if e["event"].startswith("certificate_")]
    assert said == [("certificate_not_renewed", "key_mismatch"), ("certificate_renewed", None)]


def test_a_new_file_that_is_no_good_leaves_the_old_one_in_force(
    server: Server, own: Issued, authority: Authority, client: Issued
) -> None:
    with structlog.testing.capture_logs() as events:
        own.replaced_by(authority.issue("late-server", SERVER, days=-1))
        assert presented(server.ports[TLS], authority, client) == "server"
        own.certificate.unlink()
        assert presented(server.ports[TLS], authority, client) == "server"
    assert [e["error_code"] for e in events if e["event"] == "certificate_not_renewed"] == ["expired", "unreadable"]
    assert "BEGIN" not in str(events)


def test_files_that_become_good_by_themselves_are_tried_again(
    files: dict[str, Any], own: Issued, authority: Authority
) -> None:
    """A renewed certificate whose time has not begun by our clock, as an authority with another clock issues it."""
    now = [time.time()]
    tls = Tls(ListenerTls.model_validate(files), lambda: now[0])
    before = tls.credentials()
    own.replaced_by(authority.issue("early", SERVER))
    with structlog.testing.capture_logs() as events:
        now[0] -= 120
        for passed in (0, 59, 2):
            now[0] += passed
            assert tls.credentials() is before
        now[0] += 120
        assert tls.credentials() is not before
    said = [(e["event"], e.get("error_code")) for e in events]
    assert said == [("certificate_not_renewed", "not_yet_valid"), ("certificate_renewed", None)]


def test_a_link_that_leads_elsewhere_is_a_change(
    files: dict[str, Any], authority: Authority, stranger: Issued, tmp_path: Path
) -> None:
    mounted = tmp_path / "ca.pem"
    mounted.symlink_to(authority.certificate)
    tls = Tls(ListenerTls.model_validate({**files, "ca": str(mounted)}))
    before = tls.credentials()
    assert tls.credentials() is before
    mounted.unlink()
    mounted.symlink_to(stranger.certificate)
    assert tls.credentials() is not before


def test_the_end_of_a_certificate_is_announced_daily(files: dict[str, Any], own: Issued, authority: Authority) -> None:
    own.replaced_by(authority.issue("long", SERVER, days=30))
    now = [time.time()]
    tls = Tls(ListenerTls.model_validate(files), lambda: now[0])
    with structlog.testing.capture_logs() as events:
        for day in (0, 8.5, 9.6, 9.7, 10.7, 29.5, 31, 31.5, 32.1):
            now[0] = time.time() + day * DAY_SECONDS
            tls.look()
    assert [(e["event"], e.get("days")) for e in events] == [
        ("certificate_expires", 20),
        ("certificate_expires", 19),
        ("certificate_expires", 0),
        ("certificate_expired", None),
        ("certificate_expired", None),
    ]


def test_a_key_that_everybody_can_read_is_announced(files: dict[str, Any], own: Issued) -> None:
    own.key.chmod(0o644)
    tls = Tls(ListenerTls.model_validate(files))
    with structlog.testing.capture_logs() as events:
        tls.look()
        tls.look()
    assert [e["event"] for e in events] == ["certificate_expires", "key_readable_by_all"]


def test_a_listener_does_not_start_with_files_that_are_no_good(
    tmp_path: Path, files: dict[str, Any], own: Issued
) -> None:
    own.key.unlink()
    with (
        pytest.raises(ConfigurationError, match=r"listener\.tls\.key .*own\.key: No such file"),
        running(tls_settings(tmp_path / "root", files)),
    ):
        pass
