"""Results by STOW-RS to a service on loopback that answers by a script, and the query that proves them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog

from egfr_dls import settings
from egfr_dls.ledger import results
from egfr_dls.store import open_store
from egfr_dls.study import StudyState
from reporting import stow, web_exchange
from tests.reporting.deliveries import Desk, object_uid, study_uid

ROI, REPORT, PAGES = (object_uid(1, kind) for kind in ("roi", "report", "pages"))
SECRET = "Bearer of-nobody"
POURED_AT_MOST = 64 * web_exchange.ANSWER_BYTES  # what loopback buffers is far less
CUT_OFF, ENDLESS = 0, -1  # answers that are no status
BIG = 64 << 20  # bytes: more than a loopback connection buffers


@dataclass
class Service:
    """``answers``: (status, body) of each POST in turn, then 200; a query finds nothing of ``lost``, ``misplaced`` elsewhere."""

    port: int = 0
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    misplaced: set[str] = field(default_factory=set)
    poured: int = 0  # bytes of an endless answer that went out
    refuses_unheard: int = 0  # the status with which every POST is refused before its body is read
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def post(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.posts.append((path, headers, body))
        return self.answers.pop(0) if self.answers else (200, b"{}")

    def find(self, path: str) -> tuple[int, bytes]:
        uid = path.rpartition("=")[2]
        if uid in self.lost:
            return 204, b""
        study, series = path.split("/")[3], path.split("/")[5]
        study = study_uid(2) if uid in self.misplaced else study
        keys = {"00080018": uid, "0020000D": study, "0020000E": series}
        return 200, json.dumps([{key: {"vr": "UI", "Value": [value]} for key, value in keys.items()}]).encode()


@contextmanager
def running() -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            if service.refuses_unheard:
                self.close_connection = True
                self._say(service.refuses_unheard, b"")
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._say(*service.post(self.path, dict(self.headers), body))

        def do_GET(self) -> None:
            self._say(*service.find(self.path))

        def _say(self, status: int, body: bytes) -> None:
            if status == ENDLESS:
                self._pour()
                return
            if status == CUT_OFF:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _pour(self) -> None:
            """Answer without an end, until nobody listens."""
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            with suppress(OSError):
                while service.poured < POURED_AT_MOST:
                    service.poured += self.connection.send(b" " * stow.BLOCK_BYTES)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def kept(root: Path, service: Service) -> Iterator[Desk]:
    """Open a store with the three objects of a study, due at the service."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "token").write_text(f"{SECRET}\n", encoding="ascii")
    destination = {
        "name": "pacs", "transport": "stow", "url": f"http://127.0.0.1:{service.port}/dicom-web",
        "authorization_file": root / "token",
    }  # fmt: skip
    storage = {"root": root / "store", "min_free_bytes": 0}
    loaded = settings.load(None, {"storage": storage, "destinations": [destination]})
    with open_store(loaded) as store:
        work = Desk(loaded, store)
        work.keep()
        yield work


def failed(sequence: str, key: str, reason: int, uid: str = ROI) -> bytes:
    """Return a Store Instances Response Module that names one object (PS3.18 table I.2-1)."""
    item = {"00081155": {"vr": "UI", "Value": [uid]}, key: {"vr": "US", "Value": [reason]}}
    return json.dumps({sequence: {"vr": "SQ", "Value": [item]}}).encode()


def test_kept_bytes_are_posted_to_their_study_and_proven_by_a_query(tmp_path: Path) -> None:
    with running() as service, kept(tmp_path, service) as work, structlog.testing.capture_logs() as events:
        assert work.send() == 3
        for (path, headers, body), kind in zip(service.posts, ("roi", "report", "pages"), strict=True):
            assert path == f"/dicom-web/studies/{study_uid(1)}"
            assert headers["Authorization"] == SECRET
            assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
            row = next(d for d in _kept_bytes(work) if d[0] == kind)
            assert b"\r\nContent-Type: application/dicom\r\n\r\n" + row[1] in body  # a parameter is too much for some
        assert work.study_state() is StudyState.SCORED
        assert work.prove() == 3
        assert set(work.states().values()) == {"verified"}
        assert work.study_state() is StudyState.DELIVERED
    assert SECRET not in str(events)


def _kept_bytes(work: Desk) -> list[tuple[str, bytes]]:
    with work.store.ledger.read() as tx:
        return [(row.kind, work.store.objects.get(row.sha256)) for row in results.objects_of(tx, 1)]


@pytest.mark.parametrize(
    ("status", "body", "state", "reason"),
    [
        (200, failed("00081198", "00081197", 0xA700), "queued", "OUT_OF_RESOURCES"),
        (200, failed("00081198", "00081197", 0x0124), "parked", "NOT_AUTHORISED"),
        (409, failed("00081198", "00081197", 0x0124), "parked", "NOT_AUTHORISED"),
        (202, failed("00081199", "00081196", 0xB000), "stored", "COERCED"),
        (202, failed("00081198", "00081197", 0xA700, "1.2.3"), "queued", "HTTP_202"),
        (400, b"", "parked", "HTTP_400"),
        (413, b"", "parked", "HTTP_413"),
        (415, b"<html>", "parked", "HTTP_415"),
        (408, b"", "queued", "HTTP_408"),
        (429, b"", "queued", "HTTP_429"),
        (503, b"", "queued", "HTTP_503"),
        (CUT_OFF, b"", "queued", "NO_ANSWER"),
        (200, b"<html>Welcome</html>", "stored", ""),  # the status says so; the query proves it or does not
        (200, b"[[1, {}, null]]", "stored", ""),
        (202, b"<html>Welcome</html>", "queued", "HTTP_202"),
    ],
)
def test_what_each_answer_leads_to(tmp_path: Path, status: int, body: bytes, state: str, reason: str) -> None:
    with running() as service, kept(tmp_path, service) as work:
        service.answers = [(status, body)]
        work.send()
        row = work.rows()["roi"]
        assert (row.state, row.reason) == (state, reason)


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_answer_that_concerns_the_service_parks_the_destination(tmp_path: Path, status: int) -> None:
    with running() as service, kept(tmp_path, service) as work, structlog.testing.capture_logs() as events:
        service.answers = [(status, b"")] * 3
        work.send()
        count = len(service.posts)
        assert work.send() == 0
        assert len(service.posts) == count
    assert f"HTTP_{status}" in {e.get("reason") for e in events if e["event"] == "destination_parked"}


@pytest.mark.parametrize(("status", "state"), [(401, "queued"), (413, "parked")])
def test_refusal_before_the_body_is_read_is_one(tmp_path: Path, status: int, state: str) -> None:
    with running() as service, kept(tmp_path, service) as work:
        with work.store.ledger.read() as tx:
            (large,) = (row for row in results.objects_of(tx, 1) if row.kind == "roi")
        work.store.objects.path(large.sha256).write_bytes(bytes(BIG))
        service.refuses_unheard = status
        work.send()
        row = work.rows()["roi"]
        assert (row.state, row.reason) == (state, f"HTTP_{status}")
        assert (work.parked() == f"HTTP_{status}") == (status == 401)


def test_answer_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    with running() as service, kept(tmp_path, service) as work:
        service.answers = [(ENDLESS, b"")]
        assert work.send() == 3
        assert set(work.states().values()) == {"stored"}  # the others on a connection of their own
    assert 0 < service.poured < POURED_AT_MOST


@pytest.mark.parametrize("where", ["lost", "misplaced"])
def test_object_that_is_not_where_it_should_be_goes_again(tmp_path: Path, where: str) -> None:
    with running() as service, kept(tmp_path, service) as work:
        setattr(service, where, {ROI})
        work.send()
        for _ in range(3):
            assert work.states()["roi"] == "stored"
            work.prove()
            work.now += 700
        assert work.states()["roi"] == "queued"


def test_file_of_authorization_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    with running() as service, kept(tmp_path, service) as work:
        (tmp_path / "token").unlink()
        assert work.send() == 0
        assert {r.state for r in work.rows().values()} == {"queued"}
        (tmp_path / "token").write_text(SECRET, encoding="ascii")
        work.now += 20
        assert work.send() == 3
