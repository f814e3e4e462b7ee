"""`egfr-dls run`: every stage of one machine as a process of its own, restarted when it dies.

Order of stopping: SIGTERM (or Ctrl-C) goes to every child; each drains and ends; one that does not is killed after the
limit. A child whose supervisor has died notices it by the closed pipe on its standard input, and drains too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from egfr_dls.errors import ConfigurationError, ExitCode
from egfr_dls.ledger import Ledger, jobs
from egfr_dls.settings import Settings
from egfr_dls.telemetry import get_logger

STOP_MARGIN_SECONDS = 30.0  # on top of the listener's drain: the job in hand is finished
RESTART_FIRST_SECONDS = 0.5
RESTART_CAP_SECONDS = 30.0
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


def supervise(settings: Settings, config: Path | None, stop: threading.Event) -> ExitCode:
    """Run listener, inference workers and reporter until ``stop`` is set; return the exit code."""
    children = [Child("listener", "listener-1")]
    children += [Child("inference", f"inference-{n + 1}") for n in range(settings.inference.workers)]
    children.append(Child("reporter", "reporter-1"))
    ledger = Ledger(settings.ledger_url)
    try:
        return _watch(children, ledger, config, stop)
    finally:
        _stop_all(children, settings.listener.drain_seconds + STOP_MARGIN_SECONDS)
        ledger.close()


def _watch(children: list[Child], ledger: Ledger, config: Path | None, stop: threading.Event) -> ExitCode:
    while not stop.is_set():
        for child in children:
            if child.process is None:
                if time.monotonic() >= child.restart_at:
                    _start(child, ledger, config)
            elif (code := child.process.poll()) is not None:
                if code == ExitCode.CONFIGURATION:
                    return ExitCode.CONFIGURATION
                _note_death(child, code)
        stop.wait(0.1)
    return ExitCode.DONE


def _start(child: Child, ledger: Ledger, config: Path | None) -> None:
    with ledger.begin() as tx:
        jobs.release_worker(tx, child.worker)  # nobody of this name is alive: what it held is free at once
    command = [sys.executable, "-m", "egfr_dls", child.stage, "--worker", child.worker, "--supervised"]
    if config is not None:
        command += ["--config", str(config)]
    child.process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # our own module
    child.started_at = time.monotonic()
    get_logger().info("stage_started", kind=child.stage, pid=child.process.pid, count=child.deaths)


def _note_death(child: Child, code: int) -> None:
    lived = time.monotonic() - child.started_at
    child.deaths = 1 if lived > STEADY_SECONDS else child.deaths + 1
    delay = min(RESTART_FIRST_SECONDS * 2 ** (child.deaths - 1), RESTART_CAP_SECONDS)
    child.restart_at = time.monotonic() + delay
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
    """Set ``stop`` on SIGTERM or SIGINT, and, for a supervised process, when its supervisor is gone."""

    def ask(_number: int, _frame: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    if supervised:
        threading.Thread(target=_wait_for_end_of_input, args=(stop.set,), daemon=True).start()


def _wait_for_end_of_input(then: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    then()


def require_root(settings: Settings) -> None:
    """Make the storage root, or say why not, before any process is started."""
    try:
        settings.storage.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"storage.root {settings.storage.root}: {error.strerror}") from error
