"""The web stage: an HTTP server of its own process, which reads what the other stages keep."""

from __future__ import annotations

import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings import Settings
from egfr_dls.settings_sections import Http
from egfr_dls.store import Store, open_store
from egfr_dls.telemetry import get_logger
from egfr_dls.web.application import Application
from egfr_dls.web.metrics import StateCollector

STOP_SECONDS = 0.5
REQUEST_SECONDS = 10.0  # a client that says nothing for so long is hung up on


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: probes come every few seconds, and a path may hold anything."""


def main(settings: Settings, _worker: str, stop: threading.Event) -> None:
    """Serve until ``stop`` is set.

    Raises
    ------
    ConfigurationError
        there is no section ``[http]``, or its address cannot be listened on
    """
    if settings.http is None:
        raise ConfigurationError("section [http] is missing; needed: the address to serve health and metrics on")
    with open_store(settings) as store, _listening(settings.http, _application(settings, store)) as server:
        get_logger().info("serving", port=server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True)
        thread.start()
        while not stop.wait(STOP_SECONDS):  # an endless wait does not see a signal that another thread was given
            pass
        server.shutdown()
        thread.join()


def _application(settings: Settings, store: Store) -> Application:
    def reads_ledger() -> bool:
        with store.ledger.read():
            return True

    def has_room() -> bool:
        free = store.spool.state().free_bytes
        return free is None or free >= settings.storage.min_free_bytes

    checks = {"ledger": reads_ledger, "spool": has_room}
    return Application(checks, StateCollector(store.ledger, store.spool))


def _listening(http: Http, application: Application) -> _Server:
    try:
        return make_server(http.host, http.port, application, _Server, _Handler)
    except OSError as error:
        raise ConfigurationError(
            f"http.host {http.host}, http.port {http.port}: {error.strerror}; needed: an address to listen on"
        ) from error
