"""A real S3 server for the tests: moto's, in a process of its own, and a connection to it that can be cut."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.system.waiting import wait_until

BUCKET = "spool-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}  # the server takes any
ENVIRONMENT = Path(__file__).parents[3] / ".venv-s3" / "bin"  # made by `make unit`


class S3Server:
    """A running server with one empty bucket."""

    def __init__(self, program: str, log: Path) -> None:
        self.port = _free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [program, "-H", "127.0.0.1", "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_until(self._makes_bucket, "the S3 server answers", context=log.read_text)

    def _makes_bucket(self) -> bool:
        assert self._process.poll() is None, "the S3 server has ended"
        try:
            request = urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT")
            with urllib.request.urlopen(request, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let connections be made, and nothing be answered until the end of the block."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, with all that it holds."""
        self._process.kill()
        self._process.wait()


@contextmanager
def running_server(folder: Path) -> Iterator[S3Server]:
    """Run a server until the block ends; skip the test where there is none, or no library to talk to it."""
    pytest.importorskip("obstore", reason="obstore (the extra s3) is not installed")
    if not (program := shutil.which("moto_server", path=f"{ENVIRONMENT}{os.pathsep}{os.environ.get('PATH', '')}")):
        pytest.skip("moto_server: not installed (make .venv-s3/stamp)")
    server = S3Server(program, folder / "s3-server.log")
    try:
        yield server
    finally:
        server.kill()


class Cable:
    """A connection to a server, through a port of its own, that is cut in the middle of an answer."""

    def __init__(self, server: S3Server) -> None:
        self._to = ("127.0.0.1", server.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._answers_left = -1  # endless
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, answers: int) -> None:
        """Lose every answer after so many: the requests arrive."""
        with self._lock:
            self._answers_left = answers

    def mend(self) -> None:
        """Lose nothing any more."""
        self.cut_after(-1)

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._to)
                for source, sink, answers in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._carry, args=(source, sink, answers), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with source, sink, suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self._is_lost():
                    break
                sink.sendall(data)
            for end in (source, sink):
                end.shutdown(socket.SHUT_RDWR)

    def _is_lost(self) -> bool:
        with self._lock:
            if self._answers_left > 0:
                self._answers_left -= 1
                return False
            return self._answers_left == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server_with_credentials(folder: Path) -> Iterator[S3Server]:
    """Run a server, with credentials for it in the environment of this process and of what it starts."""
    with pytest.MonkeyPatch.context() as environment, running_server(folder) as server:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield server
