"""HTTP towards services that we call: one connection, no redirect followed, no proxy asked (PS3.18 8)."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from egfr_dls.client_tls import client_context
from egfr_dls.settings_sections import PeerTls

AUTHORIZATION_BYTES: Final = 16384
_FIELD_VALUE: Final = re.compile(r"[!-~][ -~]*")  # RFC 9110 5.5, in ASCII


def connection(url: str, tls: PeerTls | None, seconds: float) -> http.client.HTTPConnection:
    """Return a connection to a service, which opens at the first request.

    Raises
    ------
    OSError, ValueError
        a file of ``tls`` cannot be read, or is none of its kind
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return _Secure(host, parts.port, timeout=seconds, context=client_context(tls or PeerTls()))
    return _Plain(host, parts.port, timeout=seconds)


def authorization(file: Path | None) -> dict[str, str]:
    """Return the header that says who asks; read anew for each connection, as tokens end.

    Raises
    ------
    OSError, ValueError
        the file cannot be read, or holds what is no value of a header
    """
    if file is None:
        return {}
    with file.open(encoding="ascii") as opened:
        value = opened.read(AUTHORIZATION_BYTES).strip()
    if not _FIELD_VALUE.fullmatch(value):
        raise ValueError("authorization_file holds no value of a header")
    return {"Authorization": value}


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Secure(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int | None, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
