"""One connection from accept to close: request, negotiation, session, and an end that the peer hears of."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from egfr_dls.settings_sections import Listener
from egfr_dls.telemetry import error_fields, get_logger
from listener.admission import Accepted, Admission, AssociationRequest
from listener.secure_transport.handshake import HandshakeError
from listener.status import Abort, Rejection
from listener.storage.reception import Reception
from listener.upper_layer import pdu
from listener.upper_layer.buffer import ReceiveBuffer
from listener.upper_layer.dispatch import HANDLERS, Channel, Handler
from listener.upper_layer.errors import ConnectionLostError, PeerAbortedError, ProtocolError
from listener.upper_layer.flood import Sparingly
from listener.upper_layer.lifetime import Lifetime
from listener.upper_layer.negotiation import SUPPORTED, Supported, acceptance, negotiate
from listener.upper_layer.pdu import HEADER, PduType
from listener.upper_layer.proposal import Proposal, read_proposal
from listener.upper_layer.session import Duties, Session
from listener.upper_layer.states import State, abort_codes, expected
from listener.upper_layer.stream import PlainStream, Stream

REST_SECONDS = 1  # of silence, after which the receive buffer's pages are given back, and what was posted is sent
KEEP_ALIVE_SECONDS = 60

_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
_REST = (REST_SECONDS).to_bytes(8, "little") + bytes(8)  # struct timeval
_NO_LIMIT = bytes(16)


@dataclass(frozen=True)
class Node:
    """What all connections of a receiver share.

    ``secure`` returns the stream of a connection that was accepted for TLS. Its handshake is done in the connection's thread,
    within the time for the request.
    """

    settings: Listener
    admission: Admission
    reception: Reception
    handlers: Mapping[int, Handler] = field(default_factory=lambda: HANDLERS)
    supported: Mapping[str, Supported] = field(default_factory=lambda: SUPPORTED)
    secure: Callable[[socket.socket], Stream] = PlainStream
    said: Sparingly = field(default_factory=Sparingly)


class Connection:
    """Runs in a thread of its own; another one may end it by its ``life``."""

    def __init__(self, connection: socket.socket, peer_address: str, node: Node, *, secure: bool = False) -> None:
        self._socket = connection
        self._opened = node.secure if secure else PlainStream
        self._stream: Stream = PlainStream(connection)
        self._peer_address = peer_address
        self._node = node
        self._channel: Channel | None = None  # while a place is held
        self.life = Lifetime(connection, node.settings.idle_seconds)

    def run(self) -> None:
        """Serve the connection, and close it."""
        try:
            if self._speaks():
                self._serve()
        except ProtocolError as error:
            self._abort(error.abort)
        except PeerAbortedError:
            self._aborted("peer_aborted")
        except HandshakeError as error:
            self._said("handshake_failed", self.life.hung_up or error.fault)
            self._linger()  # the alert says why
        except ConnectionLostError:
            self._lost()
        except Exception as error:  # noqa: BLE001  # the connection's border: a defect costs one association
            get_logger().error("association_failed", **error_fields(error))
            self._abort(Abort.DEFECT)
        finally:
            self._leave()
            self.close()

    def close(self) -> None:
        """Close the socket; for a connection that is not run, too."""
        self._socket.close()

    def _speaks(self) -> bool:
        """Whether anything comes; a connection that only looks (a load balancer) leaves no trace."""
        try:
            for option in _OPTIONS:
                self._socket.setsockopt(*option)
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _serve(self) -> None:
        self._stream = self._opened(self._socket)
        self._stream.begin()
        buffer = ReceiveBuffer(self._socket, self._stream)
        proposal = self._request(buffer)
        agreement = negotiate(proposal, self._node.supported)
        verdict = proposal.objection() or self._verdict(proposal)
        if isinstance(verdict, Rejection):
            self._said("association_rejected", verdict.reason)
            self._part(pdu.rejection(verdict))
            return
        self._channel = Channel(verdict, agreement.accepted, self._send, proposal.maximum_length)
        get_logger().info("association_accepted", association=verdict.association_id)
        self.life.state = State.ESTABLISHED
        self._send(acceptance(proposal, agreement))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _REST)
        Session(buffer, self._channel, self._duties(verdict), self.life).run()
        self._release(self._channel)

    def _request(self, buffer: ReceiveBuffer) -> Proposal:
        """Receive the A-ASSOCIATE-RQ."""
        length: int | None = None
        while length is None or buffer.end - buffer.start < HEADER.size + length:
            buffer.receive()
            if length is None and buffer.end - buffer.start >= HEADER.size:
                kind, length = HEADER.unpack_from(buffer.view, buffer.start)
                if expected(self.life.state, kind, length) is PduType.ABORT:
                    raise PeerAbortedError("the peer aborted before its request")
        start = buffer.start + HEADER.size
        buffer.start = start + length
        return read_proposal(buffer.view[start : buffer.start])

    def _verdict(self, proposal: Proposal) -> Accepted | Rejection:
        """Ask who may send; fails closed."""
        try:
            return self._node.admission.admit(
                AssociationRequest(
                    proposal.calling_ae_title,
                    proposal.called_ae_title,
                    self._peer_address,
                    self._stream.certificate_names,
                )
            )
        except Exception as error:  # noqa: BLE001  # the handler's border: a defect rejects
            get_logger().error("association_failed", **error_fields(error))
            return Rejection.DEFECT

    def _duties(self, accepted: Accepted) -> Duties:
        node = self._node
        return Duties(partial(node.reception.begin, accepted), node.handlers, node.settings.max_object_bytes)

    def _send(self, encoded: bytes) -> None:
        self.life.wait()
        try:
            self._stream.sendall(encoded)
        except OSError as error:
            raise ConnectionLostError("the connection broke") from error

    def _release(self, channel: Channel) -> None:
        """Record an A-RELEASE-RQ before it is answered, and give the place back."""
        if channel.brought:
            self._node.reception.released(channel.accepted.association_id)
            channel.brought = False
        self._leave()
        self._part(pdu.RELEASE_RP)

    def _abort(self, reason: Abort) -> None:
        codes = abort_codes(self.life.state, reason)
        self._aborted(reason.reason)
        self._part(pdu.abort(*codes))

    def _lost(self) -> None:
        if self.life.asked is not None and not self.life.hung_up:
            self._abort(self.life.asked)
        else:
            self._aborted(self.life.hung_up or "connection_lost")

    def _aborted(self, reason: str) -> None:
        self._said("association_aborted", reason)
        self._leave()

    def _leave(self) -> None:
        """Give the place back and record the end, once."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        try:
            if channel.brought:
                self._node.reception.lost(channel.accepted.association_id)
        finally:
            self._node.admission.leave(channel.accepted.association_id)

    def _said(self, event: str, reason: str) -> None:
        count = self._node.said.count((event, reason, self._peer_address))
        if count:
            association = self._channel.accepted.association_id if self._channel else None
            get_logger().warning(event, association=association, reason=reason, count=count)

    def _part(self, last: bytes) -> None:
        """Send the last PDU and wait until the peer has closed (PS3.8 Sta13)."""
        self.life.closing()
        with suppress(OSError):
            self._stream.sendall(last)
            self._stream.finish()
        self._linger()

    def _linger(self) -> None:
        """Pass over what still comes: closed at once, the connection would be reset, and what we said last be lost."""
        self.life.closing()
        with suppress(OSError):  # gone
            self.life.shut(socket.SHUT_WR)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _NO_LIMIT)  # the deadline says how long
            while self._socket.recv(1 << 16):  # what TLS would make of it does not matter
                pass
