"""The receiver built on pynetdicom: Verification and every storage SOP class, in every transfer syntax of a file.

Threads: pynetdicom has two per association. ``EVT_REQUESTED``, ``EVT_C_STORE`` and ``EVT_ACSE_RECV`` come on the
association's own thread, one after the other; ``EVT_PDU_RECV`` comes on that of the upper layer.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from io import BytesIO
from socketserver import BaseServer
from typing import Any, cast

from pydicom import Dataset
from pydicom.uid import (
    AllTransferSyntaxes,
    JPIPHTJ2KReferenced,
    JPIPHTJ2KReferencedDeflate,
    SMPTEST211020UncompressedInterlacedActiveVideo,
    SMPTEST211020UncompressedProgressiveActiveVideo,
    SMPTEST211030PCMDigitalAudio,
)
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_RELEASE
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext, build_context
from pynetdicom.transport import ThreadedAssociationServer

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings import Listener
from egfr_dls.telemetry import error_fields, get_logger
from listener.association import Accepted, Admission, AssociationRequest
from listener.reception import Reception
from listener.status import Answer, Rejection
from listener.transfer import StoreCommand

VERIFICATION = "1.2.840.10008.1.1"
MAXIMUM_PDU_BYTES = 131072
BACKLOG = 128
HANDSHAKE_SECONDS = 30.0  # ARTIM (PS3.8 9.1.5): a caller that says nothing for so long is hung up on
ABORT_SECONDS = 5.0

# Not syntaxes of an instance that can be stored: pixels behind a URL, and real-time video (PS3.5 A.6, A.7, A.9).
_NOT_STORED = {
    JPIPHTJ2KReferenced,
    JPIPHTJ2KReferencedDeflate,
    SMPTEST211020UncompressedProgressiveActiveVideo,
    SMPTEST211020UncompressedInterlacedActiveVideo,
    SMPTEST211030PCMDigitalAudio,
}
TRANSFER_SYNTAXES = [uid for uid in AllTransferSyntaxes if uid not in _NOT_STORED]
ABSTRACT_SYNTAXES = frozenset(
    {VERIFICATION, *(str(context.abstract_syntax) for context in AllStoragePresentationContexts)}
)


class PynetdicomReceiver:
    """One listening socket; see ``listener.receiver.Receiver``."""

    def __init__(self, settings: Listener, admission: Admission, reception: Reception) -> None:
        """Bind the socket.

        Raises
        ------
        ConfigurationError
            the address cannot be listened on
        """
        _keep_libraries_quiet()
        self._settings = settings
        self._admission = admission
        self._reception = reception
        self._sessions: dict[Association, _Session] = {}
        self._ended: list[str] = []
        self._lock = threading.Lock()
        self._server = self._bind()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="accept", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Accept associations from now on."""
        self._thread.start()

    def ended(self) -> Sequence[str]:
        """Return, once each, the associations whose threads have ended since the last call."""
        with self._lock:
            dead = [assoc for assoc in self._sessions if not assoc.is_alive()]
            names = [self._sessions.pop(assoc).accepted.association_id for assoc in dead]
        for name in names:
            self._admission.leave(name)
        return names

    def drain(self, seconds: float) -> int:
        """Stop accepting, let open associations finish, abort those that are still open after ``seconds``."""
        self._server.shutdown()
        self._thread.join()
        deadline = time.monotonic() + seconds
        for assoc in self._open():
            assoc.join(max(0.0, deadline - time.monotonic()))
        late = self._open()
        for assoc in late:
            assoc.abort(block=False)
        for assoc in late:
            assoc.join(ABORT_SECONDS)
        for assoc in self._server.active_associations:  # stuck in the middle of a PDU, or of no request yet
            assoc.dul.kill_dul()
            if assoc.dul.socket is not None:
                assoc.dul.socket.close()
        return len(late)

    def _open(self) -> list[Association]:
        with self._lock:
            return [assoc for assoc in self._sessions if assoc.is_alive()]

    def _bind(self) -> _Server:
        ae = ApplicationEntity(self._settings.ae_title)
        ae.maximum_pdu_size = MAXIMUM_PDU_BYTES
        ae.maximum_associations = 10**6  # ``Admission`` counts
        ae.acse_timeout = min(HANDSHAKE_SECONDS, self._settings.idle_seconds)
        ae.network_timeout = self._settings.idle_seconds
        ae.dimse_timeout = self._settings.idle_seconds
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._on_request),
            (evt.EVT_PDU_RECV, self._on_pdu),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_ACSE_RECV, self._on_acse),
        ]
        address = (self._settings.host, self._settings.port)
        try:
            server = ae.make_server(
                address, contexts=[build_context(VERIFICATION)], evt_handlers=handlers, server_class=_Server
            )
        except OSError as error:
            raise ConfigurationError(
                f"listener.host {address[0]}, listener.port {address[1]}: {error.strerror}; needed: an address to listen on"
            ) from error
        return cast("_Server", server)

    def _on_request(self, event: Event) -> None:
        """Accept or reject (A-ASSOCIATE-RQ); fails closed, for pynetdicom would accept after an exception here."""
        assoc = event.assoc
        try:
            verdict = self._admission.admit(_request(assoc))
            if isinstance(verdict, Accepted):
                assoc.acceptor.supported_contexts = _contexts(assoc)
                with self._lock:
                    self._sessions[assoc] = _Session(verdict)
                get_logger().info("association_accepted", association=verdict.association_id)
                return
        except Exception as error:  # noqa: BLE001  # the handler's border: see above
            get_logger().error("association_failed", **error_fields(error))
            verdict = Rejection.DEFECT
        get_logger().warning("association_rejected", reason=verdict.reason)
        assoc.acse.send_reject(*verdict.codes)
        assoc.kill()  # waits until the PDU is out, as pynetdicom itself does

    def _on_pdu(self, event: Event) -> None:
        """Bound the size of an object while it arrives; a violation is an A-ABORT."""
        session = self._sessions.get(event.assoc)
        if session is None or not isinstance(event.pdu, P_DATA_TF):
            return
        for item in event.pdu.presentation_data_value_items:
            if session.count(item.presentation_data_value or b"") > self._settings.max_object_bytes:
                get_logger().warning(
                    "association_aborted", association=session.accepted.association_id, reason="object_too_large"
                )
                event.assoc.abort(block=False)
                return

    def _on_store(self, event: Event) -> Dataset:
        """Answer a C-STORE-RQ; 0000H only after the spool has synced the instance."""
        session, request, context = self._sessions[event.assoc], cast("C_STORE", event.request), event.context
        command = StoreCommand(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(context.abstract_syntax),
            str(context.transfer_syntax),
        )
        meta = b"".join((bytes(128), b"DICM", encode_file_meta(event.file_meta)))
        data = request.DataSet.getvalue() if isinstance(request.DataSet, BytesIO) else b""
        answer = self._reception.store(session.accepted, command, meta, data)
        session.brought = session.brought or answer.status == 0
        return _response(answer)

    def _on_acse(self, event: Event) -> None:
        """Record an A-RELEASE-RQ before it is answered, and give the place back."""
        session = self._sessions.get(event.assoc)
        primitive = event.primitive  # type: ignore[attr-defined]  # pynetdicom sets what the event carries
        if session is None or not isinstance(primitive, A_RELEASE):
            return
        if session.brought:
            self._reception.released(session.accepted.association_id)
        self._admission.leave(session.accepted.association_id)


class _Session:
    """An open association."""

    def __init__(self, accepted: Accepted) -> None:
        self.accepted = accepted
        self.brought = False  # has brought an instance that is kept
        self._object_bytes = 0

    def count(self, fragment: bytes) -> int:
        """Return the size so far of the data set that this fragment belongs to; bit 0 of its first byte says command,
        bit 1 last fragment (PS3.8 E.2).
        """
        if not fragment or fragment[0] & 1:
            return 0
        size = self._object_bytes + len(fragment) - 1
        self._object_bytes = 0 if fragment[0] & 2 else size
        return size


class _Server(ThreadedAssociationServer):
    """pynetdicom's server with a backlog for many callers at once and sockets that cannot hang for ever."""

    request_queue_size = BACKLOG
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; a caller that stalls inside a PDU runs into the time-out."""
        client, address = super().get_request()
        client.settimeout(self.ae.network_timeout)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, address

    def finish_request(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]  # TCP only
        """Hand over a connection on which something is said; one that only looks (a load balancer) leaves no trace."""
        try:
            speaks = bool(request.recv(1, socket.MSG_PEEK))
        except OSError:
            speaks = False
        if speaks:
            super().finish_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown(self) -> None:
        """Stop accepting and close the socket; pynetdicom's own wants to be on the list of ``AE.start_server``."""
        BaseServer.shutdown(self)
        self.server_close()


def _request(assoc: Association) -> AssociationRequest:
    primitive = _proposal(assoc)
    return AssociationRequest(
        calling_ae_title=str(primitive.calling_ae_title).strip(),
        called_ae_title=str(primitive.called_ae_title).strip(),
        peer_address=str(assoc.requestor.address),
    )


def _proposal(assoc: Association) -> A_ASSOCIATE:
    return cast("A_ASSOCIATE", assoc.requestor.primitive)  # set before EVT_REQUESTED


def _contexts(assoc: Association) -> list[PresentationContext]:
    """Return what we support of what is proposed, in the caller's order: what it proposes first is what it holds.

    pynetdicom copies its list of contexts for every association (0.2 s for all storage classes in all syntaxes), and
    prefers the acceptor's order of transfer syntaxes.
    """
    supported: dict[str, list[str]] = {}
    for context in _proposal(assoc).presentation_context_definition_list:
        if str(context.abstract_syntax) in ABSTRACT_SYNTAXES:
            known = supported.setdefault(str(context.abstract_syntax), [])
            known += [uid for uid in context.transfer_syntax if uid in TRANSFER_SYNTAXES and uid not in known]
    return [build_context(abstract, syntaxes) for abstract, syntaxes in supported.items() if syntaxes]


def _response(answer: Answer) -> Dataset:
    ds = Dataset()
    ds.Status = int(answer.status)
    if answer.comment:
        ds.ErrorComment = answer.comment
    return ds


def _keep_libraries_quiet() -> None:
    """Their debug and information texts hold header values; and formatting them costs a tenth of the receive time."""
    _config.LOG_HANDLER_LEVEL = "none"
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.WARNING)
