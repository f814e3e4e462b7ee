"""Requests with a body and their answers on one HTTP connection that is kept: bounded in bytes and in time.

A service that refuses a request may say so, and close, before it has read the whole body (RFC 9112 9.6): the answer is read
where writing fails, too.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from reporting.transport import ANSWER_SECONDS

ANSWER_BYTES: Final = 1 << 20
SLOWEST_BYTES_PER_SECOND: Final = 1 << 15  # a service that takes a body slower than this is given up


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. ``body`` may raise OSError where what is to be sent cannot be read; ``size``: its length in bytes."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Iterable[bytes] = ()
    size: int = 0

    @property
    def seconds(self) -> float:
        """How long it may take, from the first byte of the request to the last one of its answer."""
        return ANSWER_SECONDS + self.size / SLOWEST_BYTES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and content of a response; of a longer one the first ``ANSWER_BYTES``."""

    status: int
    content: bytes


class WebExchange:
    """A connection that opens again where the last exchange left it closed."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def open(self) -> None:
        """Connect, if it is not open.

        Raises
        ------
        OSError
        """
        if not self._is_open:
            self._connection.connect()
            self._connection.sock.settimeout(ANSWER_SECONDS)

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def ask(self, request: Request) -> Answer | None:
        """Return the answer, None without one.

        Raises
        ------
        OSError
            of the request's body
        """
        try:
            self.open()
        except OSError:
            return None
        is_clean = False
        try:
            with self._within(request.seconds) as is_over:
                is_sent = self._send(request)
                answer, is_read = self._receive(is_over)
            is_clean = is_sent and is_read
        finally:
            if not is_clean:  # half a request, or the rest of an answer, would be taken for the next one's
                self._connection.close()
        return answer

    @property
    def _is_open(self) -> bool:
        return self._connection.sock is not None

    @contextmanager
    def _within(self, seconds: float) -> Iterator[threading.Event]:
        """Shut the connection when the time is up, and set the event: what waits for a byte then waits no more."""
        is_over = threading.Event()
        timer = threading.Timer(seconds, _shut, [self._connection.sock, is_over])
        timer.start()
        try:
            yield is_over
        finally:
            timer.cancel()
            timer.join()

    def _send(self, request: Request) -> bool:
        """Send a request; return whether the service took all of it."""
        self._connection.putrequest(request.method, request.target)
        for name, value in request.headers.items():
            self._connection.putheader(name, value)
        try:
            self._connection.endheaders()
        except OSError:
            return False
        for part in request.body:
            try:
                self._connection.send(part)
            except OSError:
                return False
        return True

    def _receive(self, is_over: threading.Event) -> tuple[Answer | None, bool]:
        """Return the answer, and whether all of it was read: the status of a refusal counts without its content."""
        try:
            response = self._connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError):
            return None, False
        with closing(response):
            content = _content(response)
            is_read = response.isclosed()
        if content is None or is_over.is_set():
            refused = response.status >= HTTPStatus.MULTIPLE_CHOICES
            return (Answer(response.status, b"") if refused else None), False
        return Answer(response.status, content), is_read


def _content(response: http.client.HTTPResponse) -> bytes | None:
    """Return at most ``ANSWER_BYTES``; None where it was cut off, and what it would have said is not known."""
    try:
        content = response.read(ANSWER_BYTES)
    except (OSError, http.client.HTTPException, ValueError):  # ValueError: a chunk's length that is none
        return None
    return None if response.length and len(content) < ANSWER_BYTES else content


def _shut(sock: socket.socket, is_over: threading.Event) -> None:
    is_over.set()
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of the descriptor: TLS state is the reader's
