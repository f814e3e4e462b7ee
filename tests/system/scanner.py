"""A scanner: sends data sets by C-STORE, in whatever manner a test needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from egfr_dls.outgoing import let_reader_rest
from tests.listener.wire import Peer, request
from tests.system.service import NODE, SCANNER

ANSWER_SECONDS = 60.0


def associate(
    port: int,
    contexts: Iterable[tuple[str, str]] = (),
    *,
    calling: str = SCANNER,
    called: str = NODE,
    answer_seconds: float = ANSWER_SECONDS,
) -> Association:
    """Ask for an association with Verification and these (SOP class, transfer syntax) pairs; look whether it is established."""
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = answer_seconds
    ae.add_requested_context(Verification)
    for sop_class_uid, transfer_syntax_uid in sorted(set(contexts)):
        ae.add_requested_context(sop_class_uid, transfer_syntax_uid)
    return ae.associate("127.0.0.1", port, ae_title=called)


@contextmanager
def association(
    port: int, datasets: Iterable[Dataset], *, calling: str = SCANNER, answer_seconds: float = ANSWER_SECONDS
) -> Iterator[Association]:
    """Hold an accepted association for these data sets; it is released at the end if it still stands."""
    needed = {(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in datasets}
    assoc = associate(port, needed, calling=calling, answer_seconds=answer_seconds)
    assert assoc.is_established, "the association was not accepted"
    connection = assoc.dul.socket.socket  # pynetdicom drops it unclosed when the peer resets it
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()
        connection.close()


def store(assoc: Association, ds: Dataset) -> int | None:
    """Send one data set; return the status, or None when no answer came."""
    if not assoc.is_established:
        return None
    let_reader_rest(assoc)
    status = assoc.send_c_store(ds).get("Status")
    return None if status is None else int(status)


def send(port: int, datasets: list[Dataset], *, calling: str = SCANNER) -> list[int | None]:
    """Send data sets in one association and release it; return their statuses."""
    with association(port, datasets, calling=calling) as assoc:
        return [store(assoc, ds) for ds in datasets]


def send_whole(port: int, datasets: list[Dataset], *, calling: str = SCANNER) -> None:
    """Send data sets in one association; each must be answered with success."""
    assert set(send(port, datasets, calling=calling)) == {0x0000}


def store_bytes(assoc: Association, sop_class_uid: str, sop_instance_uid: str, data: bytes) -> int | None:
    """Send any bytes as a data set in Explicit VR Little Endian; return the status, or None when no answer came."""
    context = next(
        c
        for c in assoc.accepted_contexts
        if c.abstract_syntax == sop_class_uid and c.transfer_syntax[0] == ExplicitVRLittleEndian
    )
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class_uid, sop_instance_uid
    request.DataSet = BytesIO(data)
    let_reader_rest(assoc)
    assoc.dimse.send_msg(request, context.context_id)
    _, answer = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    return None if answer is None else int(answer.Status)


def rejection(port: int, calling: str = SCANNER, called: str = NODE) -> tuple[int, int, int]:
    """Ask for an association, and return Result, Source and Reason/Diag. of the A-ASSOCIATE-RJ.

    In bytes: pynetdicom as caller can lose a rejection that comes at once.
    """
    with Peer(port) as peer:
        peer.send(request(calling=calling, called=called))
        kind, (_, result, source, reason) = peer.answer()
        assert kind == 3, f"PDU {kind:02X}"
        return result, source, reason
