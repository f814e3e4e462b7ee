"""`egfr-dls run`: what happens to its children, and to it, when one of them dies or is told to stop.

The children are stubs: the supervisor starts ``sys.executable -m egfr_dls STAGE ...``, and here that executable writes its
name down and behaves as told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.errors import ExitCode
from tests.listener.nodes import until

STUB = f"""#!{sys.executable}
import os, signal, sys, threading, time
from pathlib import Path
stage, log = sys.argv[3], Path(os.environ["STUB_LOG"])
before = log.read_text().count("start " + stage + " ") if log.exists() else 0
behaviour = (os.environ.get("STUB_" + stage.upper(), "wait").split(",") + ["wait"] * before)[before]
stop = threading.Event()
signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "deaf" else lambda *_: stop.set())
with log.open("a") as file:
    print("start", stage, sys.argv[sys.argv.index("--worker") + 1], os.getpid(), file=file)
if behaviour.isdigit():
    sys.exit(int(behaviour))
threading.Thread(target=lambda: (os.read(0, 1), stop.set()), daemon=True).start()
while not stop.wait(0.02):
    pass
time.sleep(float(os.environ.get("STUB_DRAIN", "0")))
while "STUB_DRAIN_UNTIL" in os.environ and not Path(os.environ["STUB_DRAIN_UNTIL"]).exists():
    time.sleep(0.02)
with log.open("a") as file:
    print("end", stage, os.getpid(), file=file)
"""
RUN = """
import sys, threading
from pathlib import Path
from egfr_dls import settings, supervisor, telemetry
loaded = settings.load(Path(sys.argv[1]))
telemetry.configure(loaded, "supervisor", "supervisor")
supervisor.STOP_MARGIN_SECONDS = float(sys.argv[2])
supervisor.STEADY_SECONDS = float(sys.argv[4])
stop = threading.Event()
supervisor.stop_on_signals(stop)
sys.executable = sys.argv[3]
try:
    sys.exit(supervisor.supervise(loaded, None, stop))
except supervisor.ConfigurationError as error:
    print(error, file=sys.stderr)
    sys.exit(78)
"""


@dataclass
class Run:
    """A running supervisor over stub stages."""

    folder: Path
    margin: float = 10.0
    steady: float = 60.0
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Run:
        stub = self.folder / "stub"
        if not stub.exists():
            stub.write_text(STUB)
            stub.chmod(0o700)
        config = self.folder / "egfr-dls.toml"
        config.write_text(f"[storage]\nroot = {json.dumps(str(self.folder / 'root'))}\n[listener]\ndrain_seconds = 0\n")
        environment = {**os.environ, "STUB_LOG": str(self.folder / "stages"), **self.environment}
        command = [sys.executable, "-c", RUN, str(config), str(self.margin), str(stub), str(self.steady)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment)
        return self

    def lines(self, what: str, stage: str = "") -> list[list[str]]:
        """Return what the stubs wrote down."""
        file = self.folder / "stages"
        found = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in found if line[0] == what and stage in (line[1], "")]

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the supervisor's log lines of one event."""
        lines = (self.folder / "log").read_text().rpartition("\n")[0].splitlines()
        return [x for x in (json.loads(line) for line in lines if line.startswith("{")) if x["event"] == event]

    def running(self) -> Run:
        """Wait until every stage runs."""
        until(lambda: len(self.lines("start")) >= 3, "three stages")
        return self

    def stop(self, number: int = signal.SIGTERM, limit: float = 20.0) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(limit)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A supervisor that is not started yet; nothing of it outlives the test."""
    made = Run(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    until(lambda: not any(alive(int(started[3])) for started in made.lines("start")), "children gone")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_stage_runs_and_sigterm_drains_all(run: Run) -> None:
    run.start().running()
    assert sorted((s[1], s[2]) for s in run.lines("start")) == [
        ("inference", "inference-1"),
        ("listener", "listener-1"),
        ("reporter", "reporter-1"),
    ]
    assert run.stop() == ExitCode.DONE
    assert sorted(e[1] for e in run.lines("end")) == ["inference", "listener", "reporter"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_reaches_children_that_take_their_time(run: Run, number: int) -> None:
    run.environment = {"STUB_DRAIN": "0.5"}
    run.start().running()
    assert run.stop(number) == ExitCode.DONE
    assert len(run.lines("end")) == 3


def test_child_that_does_not_end_is_killed_after_the_limit(run: Run) -> None:
    run.margin, run.environment = 1.5, {"STUB_INFERENCE": "deaf"}
    run.start().running()
    assert run.stop() == ExitCode.DONE
    assert len(run.events("stage_killed")) == 1
    (started,) = run.lines("start", "inference")
    assert not alive(int(started[3]))


def test_child_that_was_killed_is_started_again_under_its_name(run: Run) -> None:
    run.start().running()
    (first,) = run.lines("start", "reporter")
    os.kill(int(first[3]), signal.SIGKILL)
    until(lambda: len(run.lines("start", "reporter")) == 2, "second reporter")
    second = run.lines("start", "reporter")[1]
    assert (second[2], second[3] != first[3]) == ("reporter-1", True)
    died = run.events("stage_died")
    assert [(d["kind"], d["exit_code"], d["count"]) for d in died] == [("reporter", -signal.SIGKILL, 1)]
    assert len(run.lines("start", "listener")) == 1
    assert run.stop() == ExitCode.DONE


def test_child_that_dies_at_once_is_started_with_growing_waits(run: Run) -> None:
    run.environment = {"STUB_INFERENCE": "1,1,1,1,1"}
    run.start()
    until(lambda: len(run.events("stage_died")) >= 3, "three deaths")
    assert [d["seconds"] for d in run.events("stage_died")[:3]] == [0.5, 1.0, 2.0]
    assert run.stop() == ExitCode.DONE


def test_child_with_a_wrong_configuration_ends_the_service_with_78(run: Run) -> None:
    run.environment = {"STUB_LISTENER": "78"}
    run.start()
    assert run.process is not None
    assert run.process.wait(20) == ExitCode.CONFIGURATION
    assert {s[1] for s in run.lines("start")} - {"listener"} == {e[1] for e in run.lines("end")}


@pytest.mark.parametrize(("behaviour", "steady"), [("1,78", 60.0), ("78", 0.0)])
def test_78_of_a_stage_that_had_started_is_a_death_like_any_other(run: Run, behaviour: str, steady: float) -> None:
    """Systemd does not restart on 78: a lock that is let go a little late would end the service for good."""
    run.environment, run.steady = {"STUB_LISTENER": behaviour}, steady
    run.start()
    starts = behaviour.count(",") + 2
    until(lambda: len(run.lines("start", "listener")) == starts, "the listener goes on")
    assert [str(d["exit_code"]) for d in run.events("stage_died")] == behaviour.split(",")
    assert run.stop() == ExitCode.DONE


def test_children_of_a_killed_supervisor_end_and_the_next_one_waits_for_them(run: Run) -> None:
    """Otherwise two processes of one name would work at once on what the first one holds."""
    drained = run.folder / "drained"
    run.environment = {"STUB_DRAIN_UNTIL": str(drained)}
    run.start().running()
    assert run.stop(signal.SIGKILL) == -signal.SIGKILL
    run.start()
    until(lambda: len(run.events("waiting_for_last_service")) == 1, "the next service waits")
    assert len(run.lines("start")) == 3
    drained.touch()
    until(lambda: len(run.lines("start")) == 6, "the next service")
    lines = (run.folder / "stages").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["start"] * 3 + ["end"] * 3 + ["start"] * 3
    assert run.stop() == ExitCode.DONE


def test_second_service_on_one_root_is_refused(run: Run) -> None:
    run.start().running()
    second = Run(run.folder, margin=0.3).start()
    assert second.process is not None
    assert second.process.wait(20) == ExitCode.CONFIGURATION
    assert "another service works on it" in (run.folder / "log").read_text()
    assert len(run.lines("start")) == 3
    assert run.stop() == ExitCode.DONE


def test_root_that_cannot_be_made_ends_with_78(run: Run) -> None:
    (run.folder / "root").touch()
    run.start()
    assert run.process is not None
    assert run.process.wait(20) == ExitCode.CONFIGURATION
    assert run.lines("start") == []


def test_signals_in_quick_succession_never_hang_the_process() -> None:
    """An Event set in the handler could lock itself: 11 of 2,448 pairs of signals 50 microseconds apart did."""
    code = (
        "import os, signal, threading\n"
        "from egfr_dls.supervisor import stop_on_signals\n"
        "stop = threading.Event()\n"
        "stop_on_signals(stop)\n"
        "for _ in range(20000):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "stop.wait()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
