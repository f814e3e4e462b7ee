"""The scanner and the PACS of `egfr-dls demo`, on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from egfr_dls.atomic_file import write_atomically
from egfr_dls.errors import EgfrDlsError
from egfr_dls.outgoing import let_reader_rest

SCANNER, NODE, PACS = "DEMO_SCANNER", "EGFR_DLS", "DEMO_PACS"
HOST = "127.0.0.1"
KINDS = {
    Comprehensive3DSRStorage: "report",
    SegmentationStorage: "roi",
    MultiFrameTrueColorSecondaryCaptureImageStorage: "pages",
}
SUCCESS = 0x0000


@contextmanager
def pacs(folder: Path) -> Iterator[int]:
    """Run a PACS that keeps what it gets, one file a kind of object; yield its port."""
    ae = AE(PACS)
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)

    def keep(event: evt.Event) -> int:
        kind = KINDS.get(UID(event.request.AffectedSOPClassUID or ""), "other")
        write_atomically(folder / f"{kind}.dcm", event.encoded_dataset())
        return SUCCESS

    server = ae.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    if server is None:
        raise EgfrDlsError("the PACS of the demonstration did not start")
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_for_node(port: int, limit_seconds: float) -> None:
    """Wait until the node answers C-ECHO.

    Raises
    ------
    EgfrDlsError
        it does not within the limit
    """
    deadline = time.monotonic() + limit_seconds
    while not _listens(port):
        if time.monotonic() > deadline:
            raise EgfrDlsError("the service does not listen")
        time.sleep(0.1)
    ae = AE(SCANNER)
    ae.add_requested_context(Verification)
    assoc = ae.associate(HOST, port, ae_title=NODE)
    if not assoc.is_established or assoc.send_c_echo().get("Status") != SUCCESS:
        raise EgfrDlsError("the service does not answer C-ECHO")
    assoc.release()


def send(files: Sequence[Path], port: int) -> None:
    """Send a study by C-STORE, as a scanner would.

    Raises
    ------
    EgfrDlsError
        an instance was not answered with 0000H
    """
    ae = AE(SCANNER)
    for sop_class in sorted({str(dcmread(f, specific_tags=["SOPClassUID"]).SOPClassUID) for f in files}):
        ae.add_requested_context(sop_class)
    assoc = ae.associate(HOST, port, ae_title=NODE)
    for file in files:
        let_reader_rest(assoc)
        answer = assoc.send_c_store(file) if assoc.is_established else Dataset()
        if answer.get("Status") != SUCCESS:
            raise EgfrDlsError(f"C-STORE of {file.name} was not answered with success")
    assoc.release()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
