"""A DICOMweb service (PS3.18) on 127.0.0.1: what it holds, and how it misbehaves."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from pydicom import Dataset

from tests.builders import to_part10

BOUNDARY = "part-of-archive"
ROOT = "/dicom-web"
UNIQUE = {0: "StudyInstanceUID", 1: "StudyInstanceUID", 2: "SeriesInstanceUID", 3: "SOPInstanceUID"}
RETURNED = ("StudyInstanceUID", "StudyDate", "PatientID", "Modality", "SeriesInstanceUID", "SOPInstanceUID",
            "InstanceNumber")  # fmt: skip
Headers: TypeAlias = dict[str, str]
Answer: TypeAlias = "tuple[int, Headers, bytes | Iterator[bytes]]"
JSON_TYPE = {"Content-Type": "application/dicom+json"}
MULTIPART = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}


@dataclass
class WebArchive:
    """Holds instances and answers; what it was asked stands in ``requests`` (path below the root, keys, headers).

    ``search`` and ``retrieve`` change or replace an answer; a body that is an iterator is sent without a length.
    """

    holds: list[Dataset]
    search: Callable[[Answer], Answer] | None = None
    retrieve: Callable[[Answer], Answer] | None = None
    page: int = 10_000  # matches in one answer, at most
    pages: bool = True  # whether it knows "offset"
    requests: list[tuple[str, dict[str, str], Headers]] = field(default_factory=list)
    port: int = 0
    secure: bool = False

    @property
    def url(self) -> str:
        return f"http{'s' if self.secure else ''}://127.0.0.1:{self.port}{ROOT}"

    def searched(self) -> list[str]:
        """Return the resources that were searched."""
        return [path for path, _keys, headers in self.requests if "json" in headers["Accept"]]

    def retrieved(self) -> list[str]:
        """Return the resources that were retrieved."""
        return [path for path, _keys, headers in self.requests if "multipart" in headers["Accept"]]

    def answer(self, target: str, headers: Headers) -> Answer:
        parts = urlsplit(target)
        path = parts.path.removeprefix(ROOT)
        keys = {name: value for name, value in parse_qsl(parts.query) if name != "includefield"}
        self.requests.append((path, keys, headers))
        names = path.strip("/").split("/")
        if "json" in headers["Accept"]:
            found = self._matching(names, keys)
            return (self.search or _as_it_is)((200, JSON_TYPE, json.dumps(found).encode()))
        given = [ds for ds in self.holds if _lies_in(ds, names)]
        status = 200 if given else 404
        return (self.retrieve or _as_it_is)((status, MULTIPART, related(*(to_part10(ds) for ds in given))))

    def _matching(self, names: list[str], keys: dict[str, str]) -> list[dict[str, Any]]:
        unique = UNIQUE[len(names[1::2]) + 1 if len(names) > 1 else 0]
        latest = keys.pop("StudyDate", "").removeprefix("-") or "99999999"
        limit, offset = int(keys.pop("limit")), int(keys.pop("offset"))
        found: dict[str, Dataset] = {}
        for ds in self.holds:
            fits = all(str(ds.get(name)) == value for name, value in keys.items())
            if _lies_in(ds, names) and fits and ds.StudyDate <= latest:
                found.setdefault(ds.get(unique), ds)
        start = offset if self.pages else 0
        return [json_match(ds) for ds in list(found.values())[start : start + min(limit, self.page)]]


def json_match(ds: Dataset) -> dict[str, Any]:
    """Return a match in the DICOM JSON model (PS3.18 F.2)."""
    return {
        f"{int(ds[k].tag):08X}": {"vr": ds[k].VR, "Value": [int(ds[k].value) if ds[k].VR == "IS" else str(ds[k].value)]}
        for k in RETURNED
        if ds.get(k)
    }


def related(*files: bytes, boundary: str = BOUNDARY) -> bytes:
    """Return a multipart/related body of Part 10 files."""
    mark = boundary.encode()
    parts = [b"--" + mark + b"\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files]
    return b"".join(parts) + b"--" + mark + b"--\r\n"


def _as_it_is(answer: Answer) -> Answer:
    return answer


def _lies_in(ds: Dataset, names: list[str]) -> bool:
    """Whether an instance lies in a resource: studies/{}/series/{}/instances/{}, as far as it goes."""
    uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
    return all(mine == wanted for mine, wanted in zip(uids, names[1::2], strict=False))


@contextmanager
def serving_web(archive: WebArchive, tls: ssl.SSLContext | None = None) -> Iterator[WebArchive]:
    """Answer at a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = archive.answer(self.path, dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if isinstance(body, bytes):
                self.send_header("Content-Length", str(len(body)))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            try:
                for piece in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(piece)
            except OSError:
                self.close_connection = True

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A caller that breaks off is no error of the service."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    archive.port, archive.secure = server.server_address[1], tls is not None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
