"""Receive a PET/CT study: ours beside DCMTK storescp and a plain pynetdicom server, in one run.

    python benchmarks/receive.py [--ct 100] [--pt 100] [--rounds 5]

The receivers alternate within a round, so that a busy machine slows all of them. The sender is DCMTK storescu with
TCP_NODELAY=1 (without it, its 40 ms of delayed acknowledgement per object hide every difference). CPU is that of the receiving
process. Syncs are counted by strace, where it is installed, in a run of its own. The result is a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import Dataset

from tests.builders import ct_slices, pet_slices, to_part10

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
QUIET_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
PLAIN_PYNETDICOM = """
import sys
from pathlib import Path
from pynetdicom import AE, AllStoragePresentationContexts, evt
folder = Path(sys.argv[2])
def store(event):
    ds = event.dataset
    ds.file_meta = event.file_meta
    ds.save_as(folder / f"{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
    return 0
ae = AE("EGFR_DLS")
ae.supported_contexts = AllStoragePresentationContexts
ae.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, store)])
"""
CONFIG = """
[listener]
port = {port}
peers = [{{ ae_title = "SCANNER", host = "127.0.0.1" }}]
[storage]
root = "{root}"
min_free_bytes = 0
"""


@dataclass
class Receiver:
    """A program that receives, and what was measured of it."""

    name: str
    command: Callable[[int, Path], list[str]]  # port, empty folder
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    syncs_per_instance: float | None = None


def ours(port: int, folder: Path) -> list[str]:
    """Return the command of our listener, indexer included."""
    config = folder / "config.toml"
    config.write_text(CONFIG.format(port=port, root=folder / "root"))
    return [sys.executable, "-m", "egfr_dls", "listener", "--config", str(config)]


def storescp(port: int, folder: Path) -> list[str]:
    """Return the command of DCMTK's receiver, bit-preserving, with its largest PDU."""
    return ["storescp", "+B", "-pdu", "131072", "--output-directory", str(folder), str(port)]


def pynetdicom(port: int, folder: Path) -> list[str]:
    """Return the command of a server as pynetdicom's documentation shows it."""
    return [sys.executable, "-c", PLAIN_PYNETDICOM, str(port), str(folder)]


def main() -> None:
    """Measure and print the table."""
    options = arguments()
    receivers = [
        Receiver("egfr-dls", ours),
        Receiver("DCMTK storescp", storescp),
        Receiver("pynetdicom, plain", pynetdicom),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        study = Path(scratch) / "study"
        n_instances, n_bytes = write_study(study, options.ct, options.pt)
        for number in range(options.rounds):
            for receiver in receivers[number % len(receivers) :] + receivers[: number % len(receivers)]:
                measure(receiver, study, Path(scratch) / f"{number}-{receiver.name}")
        if shutil.which("strace"):
            few = Path(scratch) / "few"
            count, _ = write_study(few, 5, 5)
            for receiver in receivers:
                receiver.syncs_per_instance = (
                    count_syncs(receiver, few, Path(scratch) / f"strace-{receiver.name}") / count
                )
        print_table(receivers, n_instances, n_bytes, options.rounds)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=int, default=100, help="slices of 512 x 512")
    parser.add_argument("--pt", type=int, default=100, help="slices of 192 x 192")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def write_study(folder: Path, n_ct: int, n_pt: int) -> tuple[int, int]:
    """Write a PET/CT study and return the number of its instances and their bytes."""
    folder.mkdir()
    ct = ct_slices(np.zeros((1, 512, 512)), spacing_mm=(1.0, 1.0, 1.0))[0]
    pt = pet_slices(np.zeros((1, 192, 192)))[0]
    for n, ds in [(n, ct) for n in range(n_ct)] + [(n, pt) for n in range(n_pt)]:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SeriesInstanceUID}.{n + 1}"
        (folder / f"{ds.Modality}{n}.dcm").write_bytes(to_part10(with_noise(ds, n)))
    sizes = [path.stat().st_size for path in folder.iterdir()]
    return len(sizes), sum(sizes)


def with_noise(ds: Dataset, seed: int) -> Dataset:
    """Return the slice with pixels that differ by slice."""
    ds.PixelData = np.random.default_rng(seed).integers(0, 4096, ds.Rows * ds.Columns, np.uint16).tobytes()
    return ds


def measure(receiver: Receiver, study: Path, folder: Path) -> None:
    """Send the study once and note how long it took, until the last answer, and what it cost."""
    folder.mkdir()
    with running(receiver, folder, []) as (process, port):
        before, began = cpu_seconds(process.pid), time.perf_counter()
        send(study, port)
        receiver.seconds.append(time.perf_counter() - began)
        receiver.cpu_seconds.append(cpu_seconds(process.pid) - before)
    shutil.rmtree(folder)


def count_syncs(receiver: Receiver, study: Path, folder: Path) -> int:
    """Return how often the receiver asked for its files to be synced before the last answer; its database does not count."""
    folder.mkdir()
    trace = folder / "trace"
    strace = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
    with running(receiver, folder, strace) as (_process, port):
        before = len(data_syncs(trace))
        send(study, port)
        return len(data_syncs(trace)) - before


def data_syncs(trace: Path) -> list[str]:
    """Return the syncs of received data: those of the ledger and of names of folders are left out."""
    return re.findall(
        r"f(?:data)?sync\(\d+<[^>]*\.(?:seg|dcm)>\)|fdatasync\(\d+<[^>]*/[A-Z]{2}\.[0-9.]+>\)", trace.read_text()
    )


@contextmanager
def running(receiver: Receiver, folder: Path, wrapper: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a receiver until the block ends."""
    port = free_port()
    command = wrapper + receiver.command(port, folder)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": QUIET_ENVIRONMENT}
    with subprocess.Popen(command, start_new_session=True, **quiet) as process:
        try:
            wait_for(port)
            yield process, port
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # strace passes no signal on


def send(study: Path, port: int) -> None:
    """Send the folder in one association with storescu."""
    command = [
        "storescu",
        "-aet",
        "SCANNER",
        "-aec",
        "EGFR_DLS",
        "+sd",
        "-pdu",
        "131072",
        "127.0.0.1",
        str(port),
        str(study),
    ]
    subprocess.run(command, env=QUIET_ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, limit_seconds: float = 60.0) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port}")


def print_table(receivers: list[Receiver], n_instances: int, n_bytes: int, rounds: int) -> None:
    """Print medians, and the ratio to the peers round by round: its median and its spread."""
    print(f"{n_instances} instances, {n_bytes / 1e6:.0f} MB, {rounds} rounds, storescu, {os.cpu_count()} CPUs\n")
    print("| receiver | instances/s | ours / its, median (least–most) | CPU s/GB | syncs an instance |")
    print("|---|---|---|---|---|")
    for receiver in receivers:
        rate = n_instances / statistics.median(receiver.seconds)
        ratios = [theirs / mine for theirs, mine in zip(receiver.seconds, receivers[0].seconds, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        cpu = statistics.median(receiver.cpu_seconds) / (n_bytes / 1e9)
        syncs = "–" if receiver.syncs_per_instance is None else f"{receiver.syncs_per_instance:.1f}"
        print(f"| {receiver.name} | {rate:.0f} | {ratio} | {cpu:.1f} | {syncs} |")
    print(f"\n{json.dumps({r.name: [round(s, 3) for s in r.seconds] for r in receivers})}")


if __name__ == "__main__":
    main()
