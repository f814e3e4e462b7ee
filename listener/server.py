"""The receiver: a listening socket, a thread for each connection, and one that accepts and watches the deadlines."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings import Listener
from egfr_dls.telemetry import error_fields, get_logger
from listener.connection import CLOSING_SECONDS, Connection, Node
from listener.states import State
from listener.status import Abort

BACKLOG = 128
WAITING_CONNECTIONS = 128  # without an association: not asked yet, rejected, or closing
LOOK_SECONDS = 0.1  # between two looks at the deadlines


def bind(settings: Listener) -> socket.socket:
    """Return a listening socket; several processes may accept on it.

    Raises
    ------
    ConfigurationError
        the address cannot be listened on
    """
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"listener.host {settings.host}, listener.port {settings.port}: {error.strerror}; needed: an address to listen on"
        ) from error


class Server:
    """One listening socket; see ``listener.receiver.Receiver``. Its threads start with ``start``: before, it may be forked."""

    def __init__(self, listening: socket.socket, node: Node) -> None:
        self._listening = listening
        self._node = node
        self._port = int(listening.getsockname()[1])
        self._connections: set[Connection] = set()
        self._changed = threading.Condition()
        self._draining = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="accept", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return self._port

    def start(self) -> None:
        """Accept associations from now on."""
        self._listening.settimeout(LOOK_SECONDS)
        self._thread.start()

    def drain(self, seconds: float) -> int:
        """Stop accepting, let open associations finish, abort those that are still open after ``seconds``."""
        self._draining = True
        self._wait(lambda: self._has_closed() and not self._having(State.ESTABLISHED), seconds + LOOK_SECONDS)
        late = self._having(State.ESTABLISHED)
        for connection in late:
            connection.expire(Abort.DRAINED)
        self._wait(lambda: not self._connections, CLOSING_SECONDS)
        self._ended = True
        if self._thread.is_alive():
            self._thread.join()
        self._listening.close()
        for connection in self._all():
            connection.hang_up(Abort.DRAINED.reason)
        return len(late)

    def _run(self) -> None:
        looked_at = 0.0
        while not self._ended:
            if self._draining:
                self._close()
            else:
                self._accept()
            if time.monotonic() - looked_at >= LOOK_SECONDS:
                looked_at = time.monotonic()
                self._look(looked_at)

    def _has_closed(self) -> bool:
        return self._listening.fileno() == -1 or not self._thread.is_alive()

    def _close(self) -> None:
        """Listen no longer; who has no association gets none."""
        self._listening.close()
        for connection in self._having(State.AWAITING_REQUEST):
            connection.hang_up(Abort.DRAINED.reason)
        time.sleep(LOOK_SECONDS)

    def _accept(self) -> None:
        try:
            accepted, address = self._listening.accept()
        except TimeoutError:
            return
        except OSError as error:  # no descriptor is free, or the caller was gone again
            get_logger().error("association_failed", **error_fields(error))
            time.sleep(LOOK_SECONDS)
            return
        accepted.settimeout(None)
        self._serve(Connection(accepted, str(address[0]), self._node))

    def _serve(self, connection: Connection) -> None:
        self._make_room()
        with self._changed:
            self._connections.add(connection)
        try:
            threading.Thread(target=self._run_connection, args=(connection,), name="association", daemon=True).start()
        except RuntimeError as error:  # no thread can be had
            get_logger().error("association_failed", **error_fields(error))
            connection.close()
            self._forget(connection)

    def _run_connection(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def _make_room(self) -> None:
        """Hang up on the oldest connection without an association where there are too many: stalled callers shut nobody out."""
        waiting = [c for c in self._all() if c.state is not State.ESTABLISHED]
        if len(waiting) >= WAITING_CONNECTIONS:
            min(waiting, key=lambda c: c.since).hang_up("crowded_out")

    def _look(self, now: float) -> None:
        for connection in self._all():
            if now >= connection.deadline:
                connection.expire(Abort.IDLE)

    def _all(self) -> list[Connection]:
        with self._changed:
            return list(self._connections)

    def _having(self, state: State) -> list[Connection]:
        return [connection for connection in self._all() if connection.state is state]

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while not done() and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(min(left, LOOK_SECONDS))
