"""The receiver: listening sockets, a thread for each connection, and one that accepts and watches the deadlines."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from egfr_dls.errors import ConfigurationError, TemporaryFailureError
from egfr_dls.settings_sections import Listener
from egfr_dls.telemetry import error_fields, get_logger
from listener.status import Abort
from listener.upper_layer.connection import Connection, Node
from listener.upper_layer.lifetime import CLOSING_SECONDS
from listener.upper_layer.states import State

BACKLOG = 128
WAITING_CONNECTIONS = 128  # without an association: not asked yet, rejected, or closing
LOOK_SECONDS = 0.1  # between two looks at the deadlines


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket; ``secure``: for TLS."""

    listening: socket.socket
    secure: bool = False

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return int(self.listening.getsockname()[1])


def bind(settings: Listener) -> tuple[Door, ...]:
    """Return the listening sockets, the one without TLS first; several processes may accept on them.

    Raises
    ------
    ConfigurationError
        an address cannot be listened on
    """
    doors = []
    if settings.port is not None:
        doors.append(Door(_listen(settings.host, settings.port, "listener.port")))
    if settings.tls is not None:
        doors.append(Door(_listen(settings.host, settings.tls.port, "listener.tls.port"), secure=True))
    return tuple(doors)


def _listen(host: str, port: int, key: str) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"listener.host {host}, {key} {port}: {error.strerror}; needed: an address to listen on"
        ) from error


class Server:
    """See ``listener.upper_layer.receiver.Receiver``. Its threads start with ``start``: before, it may be forked."""

    def __init__(self, doors: tuple[Door, ...], node: Node) -> None:
        self._doors = doors
        self._node = node
        self._ports = tuple(door.port for door in doors)
        self._connections: set[Connection] = set()
        self._changed = threading.Condition()
        self._draining = False
        self._ended = False
        self._thread: threading.Thread | None = None  # made where it starts: a fork takes one that waits for ended

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports that are listened on, the one without TLS first."""
        return self._ports

    def start(self) -> None:
        """Accept associations from now on."""
        for door in self._doors:
            door.listening.setblocking(False)  # another process may be quicker
        self._thread = threading.Thread(target=self._run, name="accept", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise TemporaryFailureError when the thread has died that accepts and watches the deadlines."""
        if not self._accepts():
            raise TemporaryFailureError("nobody accepts associations any more; the listener is started again")

    def drain(self, seconds: float) -> int:
        """Stop accepting, let open associations finish, abort those that are still open after ``seconds``."""
        self._draining = True
        self._wait(lambda: self._has_closed() and not self._having(State.ESTABLISHED), seconds + LOOK_SECONDS)
        late = self._having(State.ESTABLISHED)
        for connection in late:
            connection.life.expire(Abort.DRAINED)
        self._wait(lambda: not self._connections, CLOSING_SECONDS)
        self._ended = True
        if self._thread is not None:
            self._thread.join()
        self._close()
        for connection in self._all():
            connection.life.hang_up(Abort.DRAINED.reason)
        return len(late)

    def _run(self) -> None:
        looked_at = 0.0
        while not self._ended:
            if self._draining:
                self._close()
                self._dismiss()
            else:
                self._await_callers()
            if time.monotonic() - looked_at >= LOOK_SECONDS:
                looked_at = time.monotonic()
                self._look(looked_at)

    def _accepts(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _has_closed(self) -> bool:
        return not self._accepts() or all(door.listening.fileno() == -1 for door in self._doors)

    def _close(self) -> None:
        """Listen no longer."""
        for door in self._doors:
            door.listening.close()

    def _dismiss(self) -> None:
        """Hang up on who has no association, and gets none."""
        for connection in self._having(State.AWAITING_REQUEST):
            connection.life.hang_up(Abort.DRAINED.reason)
        time.sleep(LOOK_SECONDS)

    def _await_callers(self) -> None:
        callers, _, _ = select.select([door.listening for door in self._doors], [], [], LOOK_SECONDS)
        for door in self._doors:
            if door.listening in callers:
                self._accept(door)

    def _accept(self, door: Door) -> None:
        try:
            accepted, address = door.listening.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no descriptor is free, or the caller was gone again
            self._failed(error)
            time.sleep(LOOK_SECONDS)
            return
        accepted.settimeout(None)
        self._serve(Connection(accepted, str(address[0]), self._node, secure=door.secure))

    def _serve(self, connection: Connection) -> None:
        self._make_room()
        with self._changed:
            self._connections.add(connection)
        try:
            threading.Thread(target=self._run_connection, args=(connection,), name="association", daemon=True).start()
        except RuntimeError as error:  # no thread can be had
            self._failed(error)
            connection.close()
            self._forget(connection)

    def _failed(self, error: Exception) -> None:
        if self._node.said.count(type(error).__name__):
            get_logger().error("association_failed", **error_fields(error))

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
        waiting = [c for c in self._all() if c.life.state is not State.ESTABLISHED and not c.life.hung_up]
        if len(waiting) >= WAITING_CONNECTIONS:
            min(waiting, key=lambda c: c.life.since).life.hang_up("crowded_out")

    def _look(self, now: float) -> None:
        for connection in self._all():
            if now >= connection.life.deadline:
                connection.life.expire(Abort.IDLE)

    def _all(self) -> list[Connection]:
        with self._changed:
            return list(self._connections)

    def _having(self, state: State) -> list[Connection]:
        return [connection for connection in self._all() if connection.life.state is state]

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while not done() and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(min(left, LOOK_SECONDS))
