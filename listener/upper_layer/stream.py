"""How a connection's bytes go: as they are, or through TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Protocol

from listener.secure_transport.certificate import names
from listener.secure_transport.handshake import HandshakeError, HandshakeFault, fault_of

RECORD_BYTES = 256 << 10  # taken from the socket at once: sixteen records of the largest size (RFC 8446 5.2)
_HANDSHAKE = 0x16  # content type of the first record of a TLS connection (RFC 8446 5.1)


class Stream(Protocol):
    """What a connection is read from and written to; ``recv_into`` and ``sendall`` are a socket's."""

    @property
    def certificate_names(self) -> frozenset[str] | None:
        """What the peer's certificate is called; empty: it showed none; None: a connection without TLS."""

    def begin(self) -> None:
        """Do the handshake; raises HandshakeError."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Wait for bytes and return how many there are, 0 at the end."""

    def sendall(self, data: bytes, /) -> None:
        """Send everything. One thread may send while another receives."""

    def finish(self) -> None:
        """Tell the peer that nothing more comes."""


class PlainStream:
    """A connection as it is."""

    certificate_names = None

    def __init__(self, connection: socket.socket) -> None:
        self.recv_into = connection.recv_into
        self.sendall = connection.sendall

    def begin(self) -> None:
        """There is nothing to do."""

    def finish(self) -> None:
        """The end of the TCP stream says it."""


class SecureStream:
    """A connection through TLS.

    The socket stays a plain one: it can be shut down and given time limits from outside at any time, and no lock is held while
    it waits. An SSL object must not be used by two threads at once; that is all that the first lock is for. The second keeps
    what goes out in order.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._using = threading.Lock()
        self._sending = threading.Lock()
        self._records = memoryview(bytearray(RECORD_BYTES))
        self._ended = False
        self.certificate_names: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Do the handshake.

        Raises
        ------
        HandshakeError
            there is none, for a reason that has a class; the peer was sent an alert
        """
        try:
            self._first_record()
            while not self._has_shaken_hands():
                self._flush()
                self._need()
            self._flush()
        except ssl.SSLError as error:
            with suppress(OSError):
                self._flush()
            raise HandshakeError(fault_of(error)) from error
        except OSError as error:
            raise HandshakeError(HandshakeFault.BROKEN_OFF) from error
        self.certificate_names = names(self._tls.getpeercert() or {})

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes and return how many there are, 0 at the end."""
        while not (count := self._decrypt(buffer)):
            if self._ended or not self._fetch():
                return 0
        return count

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        with self._sending:
            view = memoryview(data)
            with self._using:
                while view:
                    view = view[self._tls.write(view) :]
                encrypted = self._outgoing.read()
            self._socket.sendall(encrypted)

    def finish(self) -> None:
        """Send close_notify (RFC 8446 6.1)."""
        with suppress(OSError):
            with self._using, suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()

    def _first_record(self) -> None:
        """Find out a caller that speaks something else, before OpenSSL calls it by one of many names."""
        self._need()
        if self._records[0] != _HANDSHAKE:
            raise HandshakeError(HandshakeFault.PLAIN_TEXT)

    def _has_shaken_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _need(self) -> None:
        if not self._fetch():
            raise HandshakeError(HandshakeFault.BROKEN_OFF)

    def _fetch(self) -> int:
        """Wait for encrypted bytes and return how many came, 0 at the end; see ``buffer.ReceiveBuffer.receive`` on QUICKACK."""
        count = self._socket.recv_into(self._records)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._incoming.write(self._records[:count])
        return count

    def _decrypt(self, buffer: memoryview) -> int:
        """Take every whole record that has come and fits."""
        count, size = 0, len(buffer)
        with self._using:
            try:
                while count < size:
                    taken: int = self._tls.read(size - count, buffer[count:])  # type: ignore[assignment]  # with a buffer
                    count += taken
                    if not taken:
                        self._ended = True
                        break
            except ssl.SSLWantReadError:
                pass
            owed = self._outgoing.pending > 0  # the answer to a change of keys (RFC 8446 4.6.3)
        if owed:
            self._flush()
        return count

    def _flush(self) -> None:
        with self._sending:
            with self._using:
                encrypted = self._outgoing.read()
            if encrypted:
                self._socket.sendall(encrypted)
