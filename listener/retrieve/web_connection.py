"""HTTP with a source: one connection that is kept, no redirect followed, no proxy asked, every answer with its limits."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from urllib.parse import urlsplit

from egfr_dls import client_tls, web_client
from egfr_dls.settings_sections import PeerTls, Source
from listener.retrieve.source import ANSWER_SECONDS, CONNECT_SECONDS, SourceError

_PLAIN_CODINGS = ("", "identity")


class WebConnection:
    """A connection to the service at ``url``, opened when it is needed.

    Raises
    ------
    SourceError
        AUTHORIZATION_UNREADABLE, TLS_FILE_UNREADABLE
    """

    def __init__(self, source: Source) -> None:
        url = urlsplit(source.url or "")
        context = _context(source.tls or PeerTls()) if url.scheme == "https" else None
        self._http = _Http(url.hostname or "", url.port, context)
        self._path = url.path
        self._headers = _authorization(source)
        self._aborted_because: SourceError | None = None

    def abort(self, because: SourceError) -> None:
        """Break off, from any thread: who reads reads no more. The first reason counts."""
        self._aborted_because = self._aborted_because or because
        if (sock := self._http.newest) is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of the descriptor: TLS state is the reader's

    def close(self) -> None:
        """Close it."""
        self._http.close()

    @contextmanager
    def got(self, path: str, accept: str, limit: int) -> Iterator[Body | None]:
        """GET a resource; None where there is none (204).

        Parameters
        ----------
        path
            below the root of the service, with its query
        accept
            the media type that is asked for (PS3.18 8.7)
        limit
            of the body, bytes

        Raises
        ------
        SourceError
            the service cannot be reached, is silent, is another than its certificate should say, or answers with any
            other status than 200 or 204 (``HTTP_xxx``)
        """
        response = self._requested(f"{self._path}{path}", {**self._headers, "Accept": accept})
        try:
            if response.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
                raise SourceError(f"HTTP_{response.status}")
            if response.headers.get("Content-Encoding", "").strip().lower() not in _PLAIN_CODINGS:
                raise SourceError("CONTENT_TYPE")
            yield Body(self, response, limit) if response.status == HTTPStatus.OK else None
        finally:
            is_read = response.isclosed() or response.length == 0
            response.close()
            if not is_read:  # what is left of it would be taken for the next answer
                self._http.close()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Say by its reason what goes wrong with an open connection."""
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a chunk's length that is none
            raise self._aborted_because or SourceError("NO_ANSWER") from error
        if self._aborted_because is not None:
            raise self._aborted_because

    def _requested(self, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        was_open = self._http.sock is not None
        try:
            return self._answer(target, headers)
        except SourceError as error:
            is_stale = was_open and isinstance(error.__cause__, ConnectionError)  # the source closes what rests
            if not is_stale or self._aborted_because is not None:
                raise
        self._http.close()
        return self._answer(target, headers)

    def _answer(self, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        if self._http.sock is None:
            self._connect()
        with self.heard():
            self._http.request("GET", target, headers=headers)
            return self._http.getresponse()

    def _connect(self) -> None:
        reason = "UNREACHABLE"
        try:
            self._http.connect()
        except (socket.gaierror, UnicodeError):  # a label of more than 63 characters
            reason = "NAME_NOT_RESOLVED"
        except ssl.SSLError as error:
            reason = client_tls.reason_of(error)
        except OSError:
            pass
        else:
            if self._aborted_because is None:
                return
        self._http.close()
        raise self._aborted_because or SourceError(reason)


class Body:
    """The content of an answer, to its limit."""

    def __init__(self, connection: WebConnection, response: http.client.HTTPResponse, limit: int) -> None:
        self._connection = connection
        self._response = response
        self.headers = response.headers
        self.left = limit

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most so many; none at the end.

        Raises
        ------
        SourceError
            SIZE_LIMIT, NO_ANSWER (it broke off), or why we broke off
        """
        with self._connection.heard():
            data = self._response.read1(size)
            if not data and self._response.length:
                raise http.client.IncompleteRead(b"", self._response.length)
        self.left -= len(data)
        if self.left < 0:
            raise SourceError("SIZE_LIMIT", again=False)
        return data

    def whole(self) -> bytes:
        """Return all of it; raises like ``read``."""
        return b"".join(iter(lambda: self.read(65536), b""))


class _Http(http.client.HTTPConnection):
    """Connects so that the socket can be shut from another thread at any time, also within the handshake of TLS."""

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port or (http.client.HTTPS_PORT if context else http.client.HTTP_PORT))
        self._context = context
        self.newest: socket.socket | None = None  # ``sock`` is None while the last answer of a connection is read

    def connect(self) -> None:
        sock = socket.create_connection((self.host, self.port), CONNECT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.newest = sock
        if self._context is not None:
            secured = self._context.wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = self.newest = secured
            secured.do_handshake()
        self.sock.settimeout(ANSWER_SECONDS)


def _context(tls: PeerTls) -> ssl.SSLContext:
    try:
        return client_tls.client_context(tls)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SourceError("TLS_FILE_UNREADABLE") from error


def _authorization(source: Source) -> dict[str, str]:
    try:
        return web_client.authorization(source.authorization_file)
    except (OSError, ValueError) as error:
        raise SourceError("AUTHORIZATION_UNREADABLE") from error
