"""The receivers: how each is started, and how what it stored is counted and read back."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.receive.certificates import certificates_beside
from benchmarks.receive.light import CALLED
from benchmarks.receive.senders import BEST_ENVIRONMENT
from benchmarks.receive.studies import dataset_digest
from tests.system.waiting import wait_until

ORTHANC_HTTP_PORT = 8042  # in this benchmark's own network namespace
READY_SEGMENTS, SEGMENT_BYTES, IDLE_SECONDS = (
    2,
    32 << 20,
    20.0,
)  # what our spool writes ahead, and how long that may take
STOP_SECONDS = 60.0
CONFIG = """
[listener]
accept_any_peer = true
{ports}
[storage]
root = "{root}"
min_free_bytes = 0
"""
TLS = """
[listener.tls]
port = {port}
certificate = "{folder}/server.pem"
key = "{folder}/server.pem"
ca = "{folder}/ca.pem"
"""


@dataclass(frozen=True)
class Receiver:
    """A program that receives.

    ``data`` matches the paths of files that hold received bytes: those that must be synced before an answer. ``digests`` reads
    back the digest of each data set where the receiver claims to keep it as it came.
    """

    name: str
    command: Callable[[int, Path], Sequence[str]]  # port, empty folder
    stored: Callable[[Path], int]
    data: str
    digests: Callable[[Path], frozenset[str]] | None = None
    idle: Callable[[Path], bool] = lambda _folder: True  # whether it has done what it does ahead of a study
    defaults: bool = False  # without TCP_NODELAY=1
    secure: bool = False


@contextmanager
def running(receiver: Receiver, folder: Path, wrapper: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """Run a receiver until the block ends; yield its process ID (the wrapper's, if there is one) and its port."""
    folder.mkdir(parents=True)
    port = _free_port()
    environment = os.environ if receiver.defaults else BEST_ENVIRONMENT
    with (folder / "receiver.log").open("wb") as log:
        command = [*wrapper, *receiver.command(port, folder)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait_until_ready(receiver, folder, port, process)
        yield process.pid, port
        _see_alive(receiver, folder, process)
    except (AssertionError, OSError) as error:
        _see_alive(receiver, folder, process)
        raise error from None
    finally:
        _stop(process)


def ours(port: int, folder: Path) -> list[str]:
    """Return the command of our listener, indexer included."""
    return _ours(folder, f"port = {port}")


def ours_tls(port: int, folder: Path) -> list[str]:
    """Return the command of our listener with mutual TLS only."""
    return _ours(folder, TLS.format(port=port, folder=certificates_beside(folder)))


def _ours(folder: Path, ports: str) -> list[str]:
    config = folder / "config.toml"
    config.write_text(CONFIG.format(ports=ports, root=folder / "root"))
    return [sys.executable, "-m", "egfr_dls", "listener", "--config", str(config)]


def _ours_stored(folder: Path) -> int:
    command = [
        sys.executable,
        "-m",
        "egfr_dls",
        "studies",
        "list",
        "--instances",
        "--config",
        str(folder / "config.toml"),
    ]
    return len(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def _ours_digests(folder: Path) -> frozenset[str]:
    """Return what the indexer computed from the bytes in the spool."""
    with sqlite3.connect(folder / "root" / "ledger.sqlite") as ledger:
        return frozenset(digest for (digest,) in ledger.execute("SELECT digest FROM instance"))


def _ours_idle(folder: Path) -> bool:
    ready = (folder / "root" / "spool").glob("*/ready/*")
    return sum(path.stat().st_size >= SEGMENT_BYTES for path in ready) >= READY_SEGMENTS


def storescp(*options: str) -> Callable[[int, Path], list[str]]:
    """Return the command of DCMTK's receiver with these options."""
    return lambda port, folder: ["storescp", *options, "--output-directory", str(_payload(folder)), str(port)]


def storescp_tls(port: int, folder: Path) -> list[str]:
    """Return the command of DCMTK's receiver with mutual TLS."""
    keys = certificates_beside(folder)
    options = ("+B", "-pdu", "131072", "+tls", f"{keys}/server.pem", f"{keys}/server.pem", "+cf", f"{keys}/ca.pem")
    return storescp(*options)(port, folder)


def pynetdicom(port: int, folder: Path) -> list[str]:
    """Return the command of a tuned pynetdicom server."""
    return [sys.executable, "-m", "benchmarks.receive.pynetdicom_server", str(port), str(_payload(folder))]


def orthanc(*, tuned: bool) -> Callable[[int, Path], list[str]]:
    """Return the command of Orthanc with SyncStorageArea, as it is by default."""

    def command(port: int, folder: Path) -> list[str]:
        document: dict[str, object] = {
            "StorageDirectory": str(_payload(folder)),
            "IndexDirectory": str(folder / "index"),
            "Plugins": [],
            "DicomAet": CALLED,
            "DicomPort": port,
            "HttpPort": ORTHANC_HTTP_PORT,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "SyncStorageArea": True,
        }
        (folder / "orthanc.json").write_text(json.dumps(document | ({"MaximumPduLength": 131072} if tuned else {})))
        return ["Orthanc", str(folder / "orthanc.json")]

    return command


def _orthanc_stored(_folder: Path) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{ORTHANC_HTTP_PORT}/statistics", timeout=60) as answer:
        return int(json.load(answer)["CountInstances"])


def _files_stored(folder: Path) -> int:
    return sum(1 for _ in _payload(folder).iterdir())


def _files_digests(folder: Path) -> frozenset[str]:
    return frozenset(map(dataset_digest, _payload(folder).iterdir()))


def _payload(folder: Path) -> Path:
    payload = folder / "payload"
    payload.mkdir(exist_ok=True)
    return payload


def _wait_until_ready(receiver: Receiver, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until it listens and has done what it does ahead of a study."""

    def waited_for(condition: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: condition() or process.poll() is not None

    wait_until(waited_for(lambda: _listens(port)), f"{receiver.name} listens", every_seconds=0.1)
    with suppress(AssertionError):  # where the disk is too slow or too full, it is measured as it is
        wait_until(waited_for(lambda: receiver.idle(folder)), "done ahead", seconds=IDLE_SECONDS, every_seconds=0.2)
    _see_alive(receiver, folder, process)


def _see_alive(receiver: Receiver, folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Raise ChildProcessError with its last word if it has ended."""
    if process.poll() is not None:
        raise ChildProcessError(f"{receiver.name} ended: {_last_line(folder / 'receiver.log')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a receiver and what it started; a wrapper passes no signal on."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() or ["it ended without a word"]
    return re.sub(r"\S*/\S*", "…", lines[-1])[:200]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    """Whether somebody listens, asked without a connection that would be an association begun."""
    table = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return re.search(rf":{port:04X} [0-9A-F]+:0000 0A", table) is not None


FILES = r"/payload/"
OURS = Receiver("egfr-dls", ours, _ours_stored, r"/spool/[^/]+/active/", _ours_digests, _ours_idle)
OURS_TLS = Receiver("egfr-dls, mutual TLS", ours_tls, _ours_stored, OURS.data, _ours_digests, _ours_idle, secure=True)
ORTHANC = Receiver("Orthanc, sync on", orthanc(tuned=True), _orthanc_stored, FILES)
ORTHANC_DEFAULT = Receiver("Orthanc, defaults", orthanc(tuned=False), _orthanc_stored, FILES, defaults=True)
STORESCP = Receiver("storescp", storescp(), _files_stored, FILES)
STORESCP_DEFAULT = Receiver("storescp, defaults", storescp(), _files_stored, FILES, defaults=True)
STORESCP_BEST = Receiver(
    "storescp -pdu 131072 +B", storescp("-pdu", "131072", "+B"), _files_stored, FILES, _files_digests
)
STORESCP_FORK = Receiver("storescp --fork", storescp("--fork"), _files_stored, FILES)
STORESCP_FORK_BEST = Receiver(
    "storescp --fork -pdu 131072 +B", storescp("--fork", "-pdu", "131072", "+B"), _files_stored, FILES, _files_digests
)
STORESCP_TLS = Receiver(
    "storescp -pdu 131072 +B, mutual TLS", storescp_tls, _files_stored, FILES, _files_digests, secure=True
)
PYNETDICOM = Receiver("pynetdicom, tuned, fsync", pynetdicom, _files_stored, FILES, _files_digests)
