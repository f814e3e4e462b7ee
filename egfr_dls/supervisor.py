"""`egfr-dls run`: every stage of one machine as a process of its own, restarted when it dies.

Order of stopping: SIGTERM (or Ctrl-C) goes to every child; each drains and ends; one that does not is killed after the
limit. A child whose supervisor has died notices it by the closed pipe on its standard input, and drains too. Supervisor and
children hold one lock on the storage root: the next service there begins when the last of them has ended.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from egfr_dls.errors import ConfigurationError, ExitCode, TemporaryFailureError
from egfr_dls.ledger import Ledger, jobs
from egfr_dls.settings import Settings
from egfr_dls.telemetry import error_fields, get_logger

STOP_MARGIN_SECONDS = 30.0  # on top of the listener's drain: the job in hand is finished
RESTART_FIRST_SECONDS = 0.5
RESTART_CAP_SECONDS = 30.0
POLL_SECONDS = 0.1
STEADY_SECONDS = 60.0  # a child that lived this long starts over with the first delay


@dataclass
class Child:
    """One stage's process."""

    stage: str
    worker: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    deaths: int = field(default=0)


@dataclass(frozen=True)
class Launch:
    """What every child is started with."""

    ledger: Ledger
    config: Path | None
    lock: int  # file descriptor


def supervise(settings: Settings, config: Path | None, stop: threading.Event) -> ExitCode:
    """Run all stages until ``stop`` is set, or one finds its configuration faulty at its first start; return the exit code."""
    children = [Child("listener", "listener-1")]
    children += [Child("inference", f"inference-{n + 1}") for n in range(settings.inference.workers)]
    children.append(Child("reporter", "reporter-1"))
    children += [Child("web", "web-1")] if settings.http else []
    limit_seconds = settings.listener.drain_seconds + STOP_MARGIN_SECONDS
    with _sole_service(settings.storage.root, limit_seconds, stop) as lock:
        ledger = Ledger(settings.ledger_url)
        try:
            return _watch(children, Launch(ledger, config, lock), stop)
        finally:
            _stop_all(children, limit_seconds)
            ledger.close()


@contextmanager
def _sole_service(root: Path, limit_seconds: float, stop: threading.Event) -> Iterator[int]:
    """Hold the service's lock; wait for the children of one that was killed, which still finish what they have in hand.

    Raises
    ------
    ConfigurationError
        the root cannot be made, or another service still works on it
    """
    require_root(root)
    lock = os.open(root / "service.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        if not _locked(lock):
            get_logger().warning("waiting_for_last_service", seconds=limit_seconds)
            _wait_for_lock(lock, root, limit_seconds, stop)
        yield lock
    finally:
        os.close(lock)


def _wait_for_lock(lock: int, root: Path, limit_seconds: float, stop: threading.Event) -> None:
    deadline = time.monotonic() + limit_seconds
    while not stop.wait(POLL_SECONDS) and not _locked(lock):
        if time.monotonic() > deadline:
            raise ConfigurationError(f"storage.root {root}: another service works on it; needed: a root of its own")


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _watch(children: list[Child], launch: Launch, stop: threading.Event) -> ExitCode:
    while not stop.is_set():
        for child in children:
            if child.process is None:
                if time.monotonic() >= child.restart_at:
                    _start(child, launch)
            elif (code := child.process.poll()) is not None:
                lived_seconds = time.monotonic() - child.started_at
                if code == ExitCode.CONFIGURATION and not child.deaths and lived_seconds <= STEADY_SECONDS:
                    return ExitCode.CONFIGURATION  # later it is something that passes: a lock still held, a certificate
                _note_death(child, code, lived_seconds)
        stop.wait(POLL_SECONDS)
    return ExitCode.DONE


def _start(child: Child, launch: Launch) -> None:
    try:
        with launch.ledger.begin() as tx:
            jobs.release_worker(tx, child.worker)  # nobody of this name is alive: what it held is free at once
    except TemporaryFailureError as error:
        get_logger().warning("ledger_unavailable", **error_fields(error))
        child.restart_at = time.monotonic() + RESTART_FIRST_SECONDS
        return
    command = [sys.executable, "-m", "egfr_dls", child.stage, "--worker", child.worker, "--supervised"]
    if launch.config is not None:
        command += ["--config", str(launch.config)]
    child.process = subprocess.Popen(  # our own module
        command, stdin=subprocess.PIPE, start_new_session=True, pass_fds=(launch.lock,)
    )
    child.started_at = time.monotonic()
    get_logger().info("stage_started", kind=child.stage, pid=child.process.pid, count=child.deaths)


def _note_death(child: Child, code: int, lived_seconds: float) -> None:
    child.deaths = 1 if lived_seconds > STEADY_SECONDS else child.deaths + 1
    delay = min(RESTART_FIRST_SECONDS * 2 ** (child.deaths - 1), RESTART_CAP_SECONDS)
    child.restart_at = time.monotonic() + delay
    if child.process is not None and child.process.stdin is not None:
        child.process.stdin.close()
    child.process = None
    get_logger().error("stage_died", kind=child.stage, exit_code=code, count=child.deaths, seconds=delay)


def _stop_all(children: list[Child], limit_seconds: float) -> None:
    alive = [c.process for c in children if c.process is not None and c.process.poll() is None]
    for process in alive:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + limit_seconds
    for process in alive:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            get_logger().error("stage_killed", pid=process.pid)
            process.kill()
            process.wait()


def stop_on_signals(stop: threading.Event, *, supervised: bool = False) -> None:
    """Set ``stop`` on SIGTERM or SIGINT, and, for a supervised process, when its supervisor is gone.

    The handler only writes to a pipe: an Event set inside a handler can dead-lock on its own lock when two signals
    come in quick succession.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)

    def ask(_number: int, _frame: object) -> None:
        with suppress(BlockingIOError):  # the pipe is full of signals: it was told
            os.write(told, b"\0")

    def listen() -> None:
        os.read(heard, 1)
        stop.set()

    threading.Thread(target=listen, name="signals", daemon=True).start()
    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    if supervised:
        threading.Thread(target=_wait_for_end_of_input, args=(stop.set,), daemon=True).start()


def _wait_for_end_of_input(then: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    then()


def require_root(root: Path) -> None:
    """Make the storage root, or say why not, before any process is started.

    Raises
    ------
    ConfigurationError
        it cannot be made
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"storage.root {root}: {error.strerror}; needed: a folder that can be made") from error
