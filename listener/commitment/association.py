"""An association of our own for a storage commitment report: N-EVENT-REPORT to the requester (PS3.4 J.3.3, PS3.7 10.1.1).

The requester is the SCU of the class and so must be its SCU here too, though it accepts the association: we propose the SCP
role for ourselves (PS3.7 D.3.3.4).
"""

from __future__ import annotations

from io import BytesIO

from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import decode

from egfr_dls.client_tls import client_context
from egfr_dls.ledger.commitments import DueReport
from egfr_dls.outgoing import let_reader_rest, send_at_once
from listener.commitment.outcome import Address, Tried
from listener.commitment.report import encoded, report_on
from listener.commitment.request import TRANSFER_SYNTAXES, read_request
from listener.commitment.status import PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE
from listener.registry import IMPLICIT_VR_LITTLE_ENDIAN

ASSOCIATE_SECONDS = 10.0
ANSWER_SECONDS = 20.0
_config.LOG_HANDLER_LEVEL = "none"  # pynetdicom's own texts hold header values


def send(report: DueReport, address: Address) -> Tried:
    """Open an association, report on it, and release it."""
    ae = AE(report.called_ae_title)  # the title under which the requester knows us
    ae.acse_timeout = ae.connection_timeout = ASSOCIATE_SECONDS
    ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
    ae.add_requested_context(PUSH_MODEL_CLASS, list(TRANSFER_SYNTAXES))
    try:
        tls = (client_context(address.tls), address.host) if address.tls is not None else None
    except (OSError, ValueError):
        return Tried(None, "TLS_FILE_UNREADABLE")
    try:
        assoc = ae.associate(
            address.host,
            address.port,
            ae_title=report.calling_ae_title,
            ext_neg=[build_role(PUSH_MODEL_CLASS, scp_role=True)],
            evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once)],
            tls_args=tls,
        )
    except OSError:
        return Tried(None, "NAME_NOT_RESOLVED")
    if not assoc.is_established:
        return Tried(None, "ASSOCIATION_REJECTED" if assoc.is_rejected else "UNREACHABLE")
    try:
        return _report_on(assoc, report)
    finally:
        if assoc.is_established:
            assoc.release()


def _report_on(assoc: Association, report: DueReport) -> Tried:
    contexts = assoc.accepted_contexts
    if not contexts:
        return Tried(None, "CLASS_NOT_ACCEPTED")
    if not contexts[0].as_scp:
        return Tried(None, "ROLE_NOT_ACCEPTED")
    syntax = str(contexts[0].transfer_syntax[0])
    content = report_on(read_request(report.request, report.transfer_syntax_uid), report.failures)
    information = decode(BytesIO(encoded(content, syntax)), syntax == IMPLICIT_VR_LITTLE_ENDIAN, is_little_endian=True)
    try:
        let_reader_rest(assoc)
        answer, _reply = assoc.send_n_event_report(
            information, content.event_type, PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE
        )
    except RuntimeError:  # pynetdicom: the association ended meanwhile
        return Tried(None, "NO_ANSWER")
    return Tried(int(answer.Status)) if "Status" in answer else Tried(None, "NO_ANSWER")
