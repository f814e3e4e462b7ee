"""The WSGI application (PEP 3333): a table of paths. Nothing here holds study data: whoever can reach it may read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from egfr_dls.web.probes import Check, readiness

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Page = Callable[[], tuple[HTTPStatus, Mapping[str, object]]]


class Application:
    """Serves /livez, /readyz and /metrics; GET and HEAD only."""

    def __init__(self, checks: Mapping[str, Check], state: Collector) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(state)
        self._metrics: WSGIApplication = make_wsgi_app(registry)
        self._checks = checks
        self._pages: dict[str, Page] = {"/livez": _alive, "/readyz": self._ready}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if environ.get("REQUEST_METHOD") not in {"GET", "HEAD"}:
            return _answer(start_response, HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET and HEAD"})
        if path == "/metrics":
            return self._metrics(environ, start_response)
        page = self._pages.get(path, _unknown)
        return _answer(start_response, *page())

    def _ready(self) -> tuple[HTTPStatus, Mapping[str, object]]:
        found = readiness(self._checks)
        status = HTTPStatus.OK if found.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return status, {"ready": found.ready, "failing": list(found.failing)}


def _alive() -> tuple[HTTPStatus, Mapping[str, object]]:
    return HTTPStatus.OK, {"alive": True}


def _unknown() -> tuple[HTTPStatus, Mapping[str, object]]:
    return HTTPStatus.NOT_FOUND, {"error": "known here: /livez, /readyz, /metrics"}


def _answer(start_response: StartResponse, status: HTTPStatus, document: Mapping[str, object]) -> Iterable[bytes]:
    body = json.dumps(document).encode() + b"\n"
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
