"""TLS on the listener: the credentials in force, and their renewal while associations run."""

from __future__ import annotations

import math
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import socket

from egfr_dls.settings_sections import ListenerTls
from egfr_dls.telemetry import error_fields, get_logger
from listener.secure_transport.credentials import CredentialError, Credentials, load
from listener.upper_layer.stream import SecureStream

WARNING_DAYS = 21
DAY_SECONDS = 86400.0
AGAIN_SECONDS = 60.0  # between two tries of files that are no good: time or permissions may mend them


class Tls:
    """The credentials in force. Each process has its own; made before the fork, so that wrong files are found at the start.

    Files that have changed are read again by the next connection. If they are no good, those that were read before stay in
    force: an authority that replaces certificate and key one after the other disturbs nobody.

    Raises
    ------
    CredentialError
        the files cannot be used
    """

    def __init__(self, settings: ListenerTls, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = self._state()
        self._credentials = load(settings, clock())
        self._said_at = -DAY_SECONDS
        self._again_at = math.inf

    def stream(self, connection: socket) -> SecureStream:
        """Return the stream of a connection; its handshake is still to be done."""
        return SecureStream(connection, self.credentials().context)

    def credentials(self) -> Credentials:
        """Return what is in force, after a look at the files."""
        with self._lock:
            state, now = self._state(), self._clock()
            if state != self._seen or now >= self._again_at:
                self._renew(now, known=state == self._seen)
                self._seen = state
            return self._credentials

    def look(self) -> None:
        """Say once a day what an operator should see to: a certificate that ends soon or has ended, a key that all can read."""
        until, now = self.credentials().until, self._clock()
        if now - self._said_at < DAY_SECONDS:
            return
        self._said_at = now
        if until < now:
            get_logger().error("certificate_expired")
        elif (days := int((until - now) / DAY_SECONDS)) < WARNING_DAYS:
            get_logger().warning("certificate_expires", days=days)
        with suppress(OSError):
            if self._settings.key.stat().st_mode & stat.S_IROTH:
                get_logger().warning("key_readable_by_all")

    def _renew(self, now: float, *, known: bool) -> None:
        """Read the files; if they were ``known`` to be no good, that is not said again."""
        try:
            self._credentials = load(self._settings, now)
        except CredentialError as error:
            self._again_at = now + AGAIN_SECONDS
            if not known:
                get_logger().error("certificate_not_renewed", **error_fields(error))
        else:
            self._again_at, self._said_at = math.inf, -DAY_SECONDS
            get_logger().info("certificate_renewed", days=int((self._credentials.until - now) / DAY_SECONDS))

    def _state(self) -> tuple[tuple[int, ...], ...]:
        """Return what changes with the files; a link is followed, since a mounted secret is replaced by one."""
        return tuple(
            _stamp(path) for path in (self._settings.certificate, self._settings.key, self._settings.ca) if path
        )


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
