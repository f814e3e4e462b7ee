"""Sends instances until the association is gone and prints the SOP Instance UID of each that was acknowledged.

python -m tests.listener.sender PORT ROOT_OF_UIDS
"""

from __future__ import annotations

import sys

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from tests.builders import petct_study


def main(port: int, uid_root: str) -> None:
    """Send a study again and again, each time under new SOP Instance UIDs."""
    study = petct_study()
    ae = AE("SCANNER")
    ae.dimse_timeout = 3
    for uid in {ds.SOPClassUID for ds in study}:
        ae.add_requested_context(uid, ExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", port, ae_title="EGFR_DLS")
    number = 0
    while assoc.is_established:
        ds = study[number % len(study)]
        number += 1
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{uid_root}.{number}"
        if assoc.send_c_store(ds).get("Status") == 0:
            sys.stdout.write(f"{ds.SOPInstanceUID}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
