"""An exchange ends: answers that come early are heard, those that do not end are not waited for, nothing is left for the next."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from egfr_dls import web_client
from egfr_dls.settings_sections import PeerTls
from reporting import web_exchange
from reporting.web_exchange import Answer, Request, WebExchange
from tests.listener.certificates import SERVER, Authority

BLOCK = bytes(1 << 16)
BIG = 64 << 20  # bytes: more than a loopback connection buffers
SHORT_SECONDS, LIMIT_SECONDS, DROP_SECONDS = 0.4, 20.0, 0.02
DROPS = round(LIMIT_SECONDS / DROP_SECONDS)
OK, REFUSED = (f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode() for status in ("200 OK", "413 Too Large"))
GET = Request("GET", "/studies", {})
Script = Callable[[socket.socket, threading.Event], None]  # the event: the test is over


class Service:
    """Plays one script on each connection, one connection after the other."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts, self._tls, self._over = scripts, tls, threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.port = int(self._listening.getsockname()[1])

    def _serve(self) -> None:
        with suppress(OSError):  # closed: the test is over
            for script in self._scripts:
                accepted, _ = self._listening.accept()
                with suppress(OSError), self._secured(accepted) as connection:
                    connection.settimeout(LIMIT_SECONDS)
                    script(connection, self._over)

    def _secured(self, accepted: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()


@contextmanager
def exchange_with(
    *scripts: Script, tls: ssl.SSLContext | None = None, peer: PeerTls | None = None
) -> Iterator[WebExchange]:
    service = Service(*scripts, tls=tls)
    url = f"{'https' if tls else 'http'}://127.0.0.1:{service.port}"
    exchange = WebExchange(web_client.connection(url, peer, LIMIT_SECONDS))
    try:
        yield exchange
    finally:
        exchange.close()
        service.close()


def hear(connection: socket.socket) -> None:
    """Read a request's head, and no more of its body than comes with it."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(1024)


def answers(answer: bytes) -> Script:
    def script(connection: socket.socket, _over: threading.Event) -> None:
        hear(connection)
        connection.sendall(answer)

    return script


def answers_and_stays(answer: bytes) -> Script:
    def script(connection: socket.socket, over: threading.Event) -> None:
        answers(answer)(connection, over)
        over.wait(LIMIT_SECONDS)

    return script


def drips(answer: bytes) -> Script:
    """Answer so, then go on with a blank at a time."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        answers(answer)(connection, over)
        for _ in range(DROPS):
            if over.wait(DROP_SECONDS):
                return
            connection.sendall(b" ")

    return script


def sips(connection: socket.socket, over: threading.Event) -> None:
    """Take a request a block at a time, each well within the limit of a single write."""
    while not over.wait(DROP_SECONDS):
        connection.recv(len(BLOCK))


def post(size: int = BIG) -> Request:
    body = (BLOCK for _ in range(size // len(BLOCK)))
    return Request("POST", "/studies/1.2", {"Content-Length": str(size)}, body, size)


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_exchange, "ANSWER_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(web_exchange, "SLOWEST_BYTES_PER_SECOND", 100 * BIG)


def test_refusal_is_heard_that_comes_while_the_body_is_sent() -> None:
    with exchange_with(answers(REFUSED), answers(OK)) as exchange:
        assert exchange.ask(post()) == Answer(413, b"")
        assert exchange.ask(GET) == Answer(200, b"")  # on a connection of its own


@pytest.mark.usefixtures("_short")
def test_refusal_is_heard_of_a_service_that_then_reads_no_more() -> None:
    with exchange_with(answers_and_stays(REFUSED)) as exchange:
        assert exchange.ask(post()) == Answer(413, b"")


def test_refusal_by_tls_is_heard_that_comes_while_the_body_is_sent(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    theirs = authority.issue("pacs", SERVER, alternatives="IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate, theirs.key)
    with exchange_with(answers(REFUSED), tls=context, peer=PeerTls(ca=authority.certificate)) as exchange:
        assert exchange.ask(post()) == Answer(413, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX-Header: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFF\r\n{",
    ],
    ids=["header", "length", "until closed", "chunked"],
)
@pytest.mark.usefixtures("_short")
def test_answer_that_comes_drop_by_drop_is_none_in_time(answer: bytes) -> None:
    begun_at = time.monotonic()
    with exchange_with(drips(answer), answers(OK)) as exchange:
        assert exchange.ask(GET) is None
        assert time.monotonic() - begun_at < LIMIT_SECONDS / 2
        assert exchange.ask(GET) == Answer(200, b"")


@pytest.mark.usefixtures("_short")
def test_status_of_a_refusal_counts_without_its_end() -> None:
    with exchange_with(drips(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\n<")) as exchange:
        assert exchange.ask(GET) == Answer(403, b"")


@pytest.mark.usefixtures("_short")
def test_service_that_takes_a_body_slowly_is_given_up_in_time() -> None:
    begun_at = time.monotonic()
    with exchange_with(sips) as exchange:
        assert exchange.ask(post()) is None
        assert time.monotonic() - begun_at < LIMIT_SECONDS / 2


def test_large_body_has_more_time() -> None:
    assert GET.seconds == web_exchange.ANSWER_SECONDS
    assert post(web_exchange.SLOWEST_BYTES_PER_SECOND * 600).seconds == web_exchange.ANSWER_SECONDS + 600


def test_service_that_closes_without_an_answer_has_given_none() -> None:
    with exchange_with(answers(b""), answers(OK)) as exchange:
        assert exchange.ask(GET) is None
        assert exchange.ask(GET) == Answer(200, b"")


def test_body_that_cannot_be_read_is_told_and_leaves_no_half_request_behind() -> None:
    def body() -> Iterator[bytes]:
        yield BLOCK
        raise OSError

    with exchange_with(answers_and_stays(b""), answers(OK)) as exchange:
        with pytest.raises(OSError):  # the disk's own
            exchange.ask(Request("POST", "/studies/1.2", {"Content-Length": str(BIG)}, body(), BIG))
        assert exchange._connection.sock is None
