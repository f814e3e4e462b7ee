"""Associations with a destination, plain or by TLS: what is proposed, and why there is none (PS3.8 9.3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # pynetdicom makes its SOP classes at run time

from egfr_dls import client_tls
from egfr_dls.outgoing import send_at_once
from egfr_dls.settings_sections import Destination
from reporting.delivery_status import FEW_TRIES, NO_REASON_GIVEN, PERMANENT_REJECTIONS
from reporting.transport import ANSWER_SECONDS, ASSOCIATE_SECONDS, Unreachable

LITTLE_ENDIAN = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
TLS_PARKS = frozenset({client_tls.NOT_TRUSTED, client_tls.REFUSED})
Context: TypeAlias = tuple[str, Sequence[str]]  # abstract syntax, transfer syntaxes
_config.LOG_HANDLER_LEVEL = "none"  # pynetdicom's own texts hold header values


class Caller:
    """Opens associations with one destination, and counts the rejections without a reason, which park it at the third.

    Parameters
    ----------
    ae_title
        ours
    """

    def __init__(self, destination: Destination, ae_title: str) -> None:
        self._destination = destination
        self._ae_title = ae_title
        self._rejections = 0

    def open(self, contexts: Iterable[Context], handlers: Sequence[Any] = ()) -> Association | Unreachable:
        """Open an association; with Verification, which every PACS accepts: it tells "class not taken" from "not reached"."""
        ae = AE(ae_title=self._ae_title)
        ae.acse_timeout = ae.connection_timeout = ASSOCIATE_SECONDS
        ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
        ae.add_requested_context(Verification)
        for abstract_syntax, transfer_syntaxes in contexts:
            ae.add_requested_context(abstract_syntax, list(transfer_syntaxes))
        try:
            tls, faults = client_tls.association_tls(self._destination.tls, self._destination.host)
        except (OSError, ValueError):
            return Unreachable("TLS_FILE_UNREADABLE")
        try:
            assoc = ae.associate(
                self._destination.host,
                self._destination.port,
                ae_title=self._destination.ae_title,
                evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once), *handlers],
                tls_args=tls,
            )
        except OSError:
            return Unreachable("NAME_NOT_RESOLVED")
        if assoc.is_established:
            self._rejections = 0
            return assoc
        if assoc.is_rejected:
            return self._rejected(assoc.acceptor.primitive)
        return _not_connected(faults)

    def _rejected(self, answer: Any) -> Unreachable:
        key = (answer.result, answer.result_source, answer.diagnostic) if answer is not None else None
        self._rejections = self._rejections + 1 if key == NO_REASON_GIVEN else 0
        reason = PERMANENT_REJECTIONS.get(key) if key is not None else None
        if self._rejections >= FEW_TRIES:
            reason = "REJECTED_WITHOUT_REASON"
        return Unreachable(reason or "ASSOCIATION_REJECTED", parks=reason is not None)


def _not_connected(faults: client_tls.Faults | None) -> Unreachable:
    reason = faults.reason if faults is not None else ""
    return Unreachable(reason or "UNREACHABLE", parks=reason in TLS_PARKS)
