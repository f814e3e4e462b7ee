"""The listener under test: a process of its own that can be killed as a whole or in part, again and again."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.receive.processes import tree
from egfr_dls import cli
from tests.system.waiting import wait_until

LIMIT_SECONDS = 60.0
WORKER = "listener-test"
CONFIG = """
[listener]
port = {port}
workers = {workers}
drain_seconds = 0.2
peers = [{{ ae_title = "SCANNER", host = "127.0.0.1" }}]
[storage]
root = "{root}"
min_free_bytes = 0
{storage}
[study]
quiet_seconds = {quiet_seconds}
"""
# A server from which listeners are forked with everything imported: a start then is what a listener does at its start.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["benchmarks.durability.node", "egfr_dls.service_commands", "listener.stage"])


def write_config(folder: Path, *, port: int, workers: int = 1, quiet_seconds: float = 3600, storage: str = "") -> Path:
    """Write the configuration of a listener whose root is ``folder / "root"``; return its path."""
    path = folder / "config.toml"
    facts = {"port": port, "workers": workers, "quiet_seconds": quiet_seconds, "storage": storage}
    path.write_text(CONFIG.format(root=folder / "root", **facts))
    return path


def free_port() -> int:
    """Return a port on which nobody listens, below those that callers are given: one of them would call itself there."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(20000, 30000)))
            return int(probe.getsockname()[1])


class Node:
    """A listener, from start to its end."""

    def __init__(self, config: Path) -> None:
        self._log = config.with_suffix(".log")
        self._log.write_bytes(b"")
        self._process = _CONTEXT.Process(target=_listen, args=(config, self._log))
        self._process.start()
        self.pid: int = self._process.pid or 0
        self._seen: set[int] = {self.pid}

    def listens(self) -> bool:
        """Whether associations are accepted."""
        return _listens(self._log)

    def wait_until_listening(self) -> None:
        """Return when associations are accepted."""
        wait_until(self.listens, "listening", seconds=LIMIT_SECONDS, context=self._log.read_text)

    def parts(self) -> list[int]:
        """Return the process IDs: the first receiver, the indexer, further receivers, as far as they are there."""
        first, *forked = tree(self.pid)
        self._seen.update(forked)
        return [first, *sorted(forked)]

    def ended(self, seconds: float = 0.0) -> int | None:
        """Return how it ended, if it did within that time."""
        self._process.join(seconds)
        return self._process.exitcode

    def terminate(self) -> int | None:
        """Have it drain; return its exit code, None if it does not end."""
        kill([self.pid], signal.SIGTERM)
        return self.ended(LIMIT_SECONDS)

    def vanish(self) -> None:
        """Return when nothing of it is left."""
        kill([self.pid])
        self._process.join()
        wait_until(lambda: not any(map(_runs, self._seen)), "all its processes gone", every_seconds=0.002)
        self._process.close()


class Command:
    """A listener that was started by its command, with an environment of its own."""

    def __init__(self, config: Path, environment: Mapping[str, str], module: str = "egfr_dls") -> None:
        self.log = config.with_suffix(".log")
        command = [sys.executable, "-m", module, "listener", "--config", str(config), "--worker", WORKER]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log, env={**os.environ, **environment})
        self.pid = self._process.pid

    def wait_until_listening(self) -> None:
        """Return when associations are accepted."""
        wait_until(lambda: _listens(self.log), "listening", seconds=LIMIT_SECONDS, context=self.log.read_text)

    def terminate(self) -> int:
        """Have it drain; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def kill(pids: list[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to processes, one after the other, as far as they are there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _listen(config: Path, log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    cli.main(["listener", "--config", str(config), "--worker", WORKER])


def _listens(log: Path) -> bool:
    return any(json.loads(line)["event"] == "listening" for line in log.read_text().splitlines() if line.endswith("}"))


def _runs(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False
