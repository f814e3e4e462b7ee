"""What indexing costs: CPU and wall time an instance, beside the digest that it cannot do without.

    python -m benchmarks.index [--instances 100000] [--payload 65536]

A spool is filled first (unsynced, not timed). Then an indexer enters it into an empty ledger, as after a lost one; then once
more with every instance known. The last column is CPU time an instance, less that of hashing the same bytes in memory.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from egfr_dls.content_digest import content_digest
from egfr_dls.ledger import Ledger
from egfr_dls.spool import DirectorySpool
from egfr_dls.study import ReceivedInstance
from listener.indexing.intake import Intake

SLICES = 300  # instances a series; two series a study
PAYLOADS = (512, 65536)


@dataclass(frozen=True, slots=True)
class Cost:
    """Time of a run, seconds."""

    wall: float
    cpu: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--payload", type=int, action="append", help="bytes of a data set; repeatable")
    chosen = parser.parse_args()
    sys.stdout.write(
        "payload  run        instances  wall s   CPU s   us/instance wall   CPU   digest    CPU beside it\n"
    )
    for payload in chosen.payload or PAYLOADS:
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), chosen.instances, payload)


def _measure(root: Path, instances: int, payload: int) -> None:
    spool = DirectorySpool(root / "spool", "bench")
    data = struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OB", payload) + bytes(i % 251 for i in range(payload))
    _fill(spool, instances, data)
    digest = _timed(lambda: [content_digest([data]) for _ in range(min(instances, 20_000))])
    digest_us = digest.cpu / min(instances, 20_000) * 1e6
    ledger = Ledger(f"sqlite:///{root / 'ledger.sqlite'}")
    intake = Intake(ledger, spool, b"key", "bench")
    _print(payload, "rebuild", instances, _timed(lambda: intake.index(everything=True)), digest_us)
    _fill(spool, instances, data)
    _print(payload, "known", instances, _timed(intake.index), digest_us)
    ledger.close()
    spool.close()


def _fill(spool: DirectorySpool, instances: int, data: bytes) -> None:
    meta = _file_meta()
    for n in range(instances):
        study, series = divmod(n // SLICES, 2)
        entry = ReceivedInstance(
            CTImageStorage, f"1.2.826.0.1.3680043.10.1.{study}.{series}.{n}", f"1.2.826.0.1.3680043.10.1.{study}",
            f"1.2.826.0.1.3680043.10.1.{study}.{series}", "CT", ExplicitVRLittleEndian, "SCANNER", "EGFR_DLS", "127.0.0.1",
            f"00000000-0000-0000-0000-{study:012}", datetime.now(UTC), f"1.2.826.0.1.3680043.10.1.{study}.9",
        )  # fmt: skip
        spool.append(entry, [meta, data], sync=False)


def _file_meta() -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue()


def _timed(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def _print(payload: int, run: str, instances: int, cost: Cost, digest_us: float) -> None:
    wall_us, cpu_us = cost.wall / instances * 1e6, cost.cpu / instances * 1e6
    sys.stdout.write(
        f"{payload:7}  {run:9} {instances:10} {cost.wall:7.2f} {cost.cpu:7.2f} {wall_us:18.1f} {cpu_us:5.1f} "
        f"{digest_us:9.1f} {cpu_us - digest_us:15.1f}\n"
    )


if __name__ == "__main__":
    main()
