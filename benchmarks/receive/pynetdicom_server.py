"""A pynetdicom storage server as fast as its public interface allows, and durable: PORT FOLDER."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE

PDU_BYTES = 131072


def main() -> None:
    """Serve until killed: no decoding, the largest usual PDU, fsync before the answer."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])

    def store(event: evt.Event) -> int:
        assert isinstance(event.request, C_STORE)
        with (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").open("wb") as file:
            file.write(event.encoded_dataset())
            file.flush()
            os.fsync(file.fileno())
        return 0x0000

    ae = AE("EGFR_DLS")
    ae.maximum_pdu_size = PDU_BYTES
    ae.maximum_associations = 64
    ae.supported_contexts = AllStoragePresentationContexts
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main()
