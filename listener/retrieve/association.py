"""An association with a source: what is proposed, and how it is broken off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from egfr_dls import client_tls
from egfr_dls.outgoing import let_reader_rest, send_at_once
from egfr_dls.settings_sections import Source
from listener.retrieve.source import (
    ANSWER_SECONDS,
    CLASSES,
    CONNECT_SECONDS,
    OWN_CLASSES,
    TRANSFER_SYNTAXES,
    SourceError,
    watched,
)

# Study Root Query/Retrieve Information Model (PS3.4 C.6.2.3)
FIND: Final = UID("1.2.840.10008.5.1.4.1.2.2.1")
MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.2.2")
GET: Final = UID("1.2.840.10008.5.1.4.1.2.2.3")
PDU_BYTES = 131072  # that we take
SUCCESS, PENDING = 0x0000, (0xFF00, 0xFF01)  # PS3.4 table C.4-1 to C.4-3
_config.LOG_HANDLER_LEVEL = "none"  # pynetdicom's own texts hold header values


@dataclass
class Opened:
    """An association with a source, and why we aborted it, if we did."""

    assoc: Association
    aborted_because: SourceError | None = None

    def accepts(self, model: str) -> bool:
        """Whether the source offers an information model."""
        return any(context.abstract_syntax == model for context in self.assoc.accepted_contexts)

    def abort(self, because: SourceError) -> None:
        """Break off, from any thread: who waits for an answer has none. The first reason counts."""
        if self.aborted_because is None:
            self.aborted_because = because
            self.assoc.dimse.msg_queue.put((None, None))  # what pynetdicom tells itself when an A-ABORT has come

    def answers(
        self, send: Callable[[], Iterator[tuple[Dataset, Dataset | None]]]
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Yield status and identifier of every response to a request, to the last one, whatever its status.

        Raises
        ------
        SourceError
            there is no last response: the association was aborted or is silent
        """
        let_reader_rest(self.assoc)
        try:
            for status, identifier in send():
                if "Status" not in status:
                    raise self.aborted_because or SourceError("NO_ANSWER")
                yield status, identifier
        except RuntimeError as error:  # pynetdicom: the association ended before the request
            raise self.aborted_because or SourceError("NO_ANSWER") from error


@contextmanager
def association(
    source: Source, ae_title: str, on_store: Callable[[Event], int], stop: threading.Event
) -> Iterator[Opened]:
    """Open an association with a source for C-FIND and for what its ``retrieve`` says, and release it at the end.

    Parameters
    ----------
    ae_title
        ours
    on_store
        answers each C-STORE that comes on it (C-GET)
    stop
        aborts it when set, as the end of ``max_seconds`` does

    Raises
    ------
    SourceError
        it cannot be reached, rejects us, or offers no query
    """
    assoc = _associated(source, ae_title, on_store)
    opened = Opened(assoc)
    try:
        with watched(opened.abort, source.max_seconds, stop):
            if not opened.accepts(FIND):
                raise SourceError("QUERY_NOT_OFFERED")
            yield opened
    finally:
        if assoc.is_established:
            (assoc.abort if opened.aborted_because else assoc.release)()


def _associated(source: Source, ae_title: str, on_store: Callable[[Event], int]) -> Association:
    ae, roles = _proposed(source, ae_title)
    try:
        tls, faults = client_tls.association_tls(source.tls, source.host)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SourceError("TLS_FILE_UNREADABLE") from error
    try:
        assoc = ae.associate(
            source.host,
            source.port,
            ae_title=source.ae_title,
            ext_neg=roles,
            evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once), (evt.EVT_C_STORE, on_store)],
            tls_args=tls,
        )
    except OSError as error:
        raise SourceError("NAME_NOT_RESOLVED") from error
    if not assoc.is_established:
        reason = "ASSOCIATION_REJECTED" if assoc.is_rejected else faults and faults.reason
        raise SourceError(reason or "UNREACHABLE")
    return assoc


def _proposed(source: Source, ae_title: str) -> tuple[AE, list[Any]]:
    """Return what is proposed to a source, and the roles in it."""
    ae = AE(ae_title)
    ae.acse_timeout = ae.connection_timeout = CONNECT_SECONDS
    ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
    ae.maximum_pdu_size = PDU_BYTES
    ae.add_requested_context(FIND)
    if source.retrieve != "c-get":
        ae.add_requested_context(MOVE)
    roles: list[Any] = []
    if source.retrieve != "c-move":
        ae.add_requested_context(GET)
        for sop_class in (uid for classes in CLASSES.values() for uid in classes):
            roles.append(build_role(sop_class, scp_role=True))  # PS3.4 C.5.3.1
            _propose_each(ae, sop_class)
        for sop_class in OWN_CLASSES:
            roles.append(build_role(sop_class, scp_role=True))
            ae.add_requested_context(sop_class)
    return ae, roles


def _propose_each(ae: AE, sop_class: str) -> None:
    """Propose a context for each transfer syntax, so that a source can send what it holds as it holds it."""
    for syntax in TRANSFER_SYNTAXES:
        ae.add_requested_context(sop_class, syntax)
