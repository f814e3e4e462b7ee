"""Orthanc in a network namespace of its own: it binds its DICOM port on every address, so nothing outside may see it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.error import URLError

from tests.system.waiting import wait_until

CLONE_NEWNET = 0x40000000  # <sched.h>
AE_TITLE, DICOM_PORT, HTTP_PORT = "ORTHANC", 4242, 8042
NODE_PORT = 11112
STABLE_SECONDS = 2
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
DICOMWEB_URL = f"http://127.0.0.1:{HTTP_PORT}/dicom-web"
Value = TypeVar("Value")


class NetworkNamespace:
    """A namespace with nothing but a loopback interface, held by a process that sleeps.

    ``prefix`` runs a command inside; ``call`` runs a function there, on a thread that has joined.
    """

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
                                        stdout=subprocess.PIPE)  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        self.prefix = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--")
        self._inside = ThreadPoolExecutor(1, initializer=self._join)

    def call(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Run a function inside; sockets and threads that it makes are inside, too."""
        return self._inside.submit(function, *arguments).result()

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command inside to its end; return what it printed."""
        done = subprocess.run(
            [*self.prefix, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "TCP_NODELAY": "1"},
            check=False,
        )
        assert done.returncode == code, done.stdout[-3000:]
        return done.stdout

    def close(self) -> None:
        """End the holder; the namespace goes with its last process."""
        self._inside.shutdown()
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def _join(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(fd, CLONE_NEWNET) != 0:  # this thread only
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)


@contextmanager
def network_namespace() -> Iterator[NetworkNamespace]:
    """Hold a namespace until the block ends."""
    namespace = NetworkNamespace()
    try:
        yield namespace
    finally:
        namespace.close()


class Orthanc:
    """One Orthanc with storage under ``folder``; it knows the node as "egfr".

    Where its DICOMweb plugin is installed, it also answers at ``DICOMWEB_URL``.
    """

    def __init__(
        self,
        folder: Path,
        namespace: NetworkNamespace,
        scripts: Sequence[Path],
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._namespace, self._config, self._log = namespace, folder / "orthanc.json", folder / "orthanc.log"
        document = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(DICOMWEB_PLUGIN)] if DICOMWEB_PLUGIN.exists() else [],
            "DicomAet": AE_TITLE,
            "DicomPort": DICOM_PORT,
            "DicomCheckCalledAet": True,
            "HttpPort": HTTP_PORT,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StableAge": STABLE_SECONDS,
            "JobsHistorySize": 1000,
            "DicomAssociationCloseDelay": 1,
            "UserMetadata": {"EgfrRouted": 1024},
            "LuaScripts": [str(script) for script in scripts],
            "DicomModalities": {"egfr": ["EGFR_DLS", "127.0.0.1", NODE_PORT]},
            **more,
        }
        self._config.write_text(json.dumps(document), encoding="ascii")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, also again after ``kill``, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._namespace.prefix, "Orthanc", str(self._config)], stdout=log, stderr=log
            )
        wait_until(lambda: self._answers(), "Orthanc answers", context=self.tail)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def get(self, path: str) -> Any:
        """GET a JSON document."""
        return json.loads(self._http(path, None))

    def file(self, instance: str) -> bytes:
        """GET an instance as a Part 10 file."""
        return self._http(f"/instances/{instance}/file", None)

    def post(self, path: str, data: bytes) -> Any:
        """POST bytes and read the answer as JSON."""
        return json.loads(self._http(path, data))

    def instances(self, study_instance_uid: str, *modalities: str) -> list[str]:
        """Return Orthanc's names of the study's instances of these modalities."""
        query = {"Level": "Series", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True}
        series = self.post("/tools/find", json.dumps(query).encode())
        return [i for s in series if s["MainDicomTags"]["Modality"] in modalities for i in s["Instances"]]

    def send(self, *resources: str) -> None:
        """C-STORE these of its resources to the node, and wait until that is done."""
        job = {"Resources": resources, "Synchronous": True}
        self.post("/modalities/egfr/store", json.dumps(job).encode())

    def ask_for_commitment(self, *instances: tuple[str, str]) -> dict[str, Any]:
        """Have the node asked for commitment of these (SOP Class UID, SOP Instance UID); return the report once it is there."""
        job = {"DicomInstances": instances, "Timeout": 10}
        path = self.post("/modalities/egfr/storage-commitment", json.dumps(job).encode())["Path"]
        found: dict[str, Any] = wait_until(
            lambda: (report := self.get(path))["Status"] != "Pending" and report, "the report", context=self.tail
        )
        return found

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def _http(self, path: str, data: bytes | None) -> bytes:
        return self._namespace.call(_request, f"http://127.0.0.1:{HTTP_PORT}{path}", data)

    def _answers(self) -> bool:
        try:
            return bool(self.get("/system"))
        except (URLError, ConnectionError):
            return False


@contextmanager
def running_orthanc(folder: Path, namespace: NetworkNamespace, *scripts: Path, **more: Any) -> Iterator[Orthanc]:
    """Run Orthanc until the block ends; ``more`` stands in its configuration, over what is there."""
    orthanc = Orthanc(folder, namespace, scripts, more)
    try:
        orthanc.start()
        yield orthanc
    finally:
        orthanc.kill()


def _request(url: str, data: bytes | None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
        content: bytes = answer.read()
        return content
