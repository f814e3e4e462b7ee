"""The whole service as a site runs it: `egfr-dls run` with a configuration of its own, on free loopback ports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Table, select

from egfr_dls import settings, study_document
from egfr_dls.ledger import Ledger, Tx, deliveries, jobs, studies
from egfr_dls.study import StudyState
from tests.system.waiting import LIMIT_SECONDS, wait_until

NODE, SCANNER, PACS = "EGFR_DLS", "SCANNER", "PACS"
QUIET_SECONDS = 0.5
DRAIN_SECONDS = 5.0
STOP_LIMIT_SECONDS = 60.0
LOG_LINES_SHOWN = 25
Sections = Mapping[str, Mapping[str, object] | Sequence[Mapping[str, object]]]


class Service:
    """One running `egfr-dls run`: its log, its ledger, its processes and its command line."""

    def __init__(self, folder: Path, sections: Sections, *, prefix: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.config, self.log_file = folder, folder / "egfr-dls.toml", folder / "service.log"
        self.config.write_text(toml(sections), encoding="utf-8")
        self.settings = settings.load(self.config)
        self.port = self.settings.listener.port
        self._prefix = list(prefix)
        self._log = self.log_file.open("ab")
        self.process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", "egfr_dls", "run", "--config", str(self.config)],
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    # what it says

    def log(self) -> list[dict[str, Any]]:
        """Return the events on standard error, whole lines only; all else there is the last word of a stage that cannot start."""
        lines = self.log_file.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
        assert all(line.startswith(("{", "egfr-dls: ")) for line in lines), self.tail()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def events(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the lines of one event with these fields."""
        return [x for x in self.log() if x["event"] == event and fields.items() <= x.items()]

    def wait_for_event(self, event: str, *, count: int = 1, **fields: object) -> dict[str, Any]:
        """Return the ``count``-th line of this event, once it is there."""
        found = wait_until(
            lambda: len(e := self.events(event, **fields)) >= count and e, f"{event} {fields}", context=self.tail
        )
        return found[count - 1]

    def tail(self) -> str:
        """Return the last lines of the log, for the message of a failed test."""
        return "\n".join(self.log_file.read_text(encoding="utf-8").splitlines()[-LOG_LINES_SHOWN:])

    # what it knows

    @contextmanager
    def ledger(self) -> Iterator[Tx]:
        """Open the ledger for reading."""
        ledger = Ledger(self.settings.ledger_url)
        try:
            with ledger.read() as tx:
                yield tx
        finally:
            ledger.close()

    def rows(self, table: Table) -> list[Any]:
        """Return every row of a table."""
        with self.ledger() as tx:
            return list(tx.execute(select(table)).all())

    def study(self, study_instance_uid: str) -> dict[str, Any]:
        """Return what `studies show --json` prints of a study; an empty document while it is not known."""
        with self.ledger() as tx:
            known = {row.study_instance_uid for row in studies.listed(tx)}
            return study_document.whole(tx, study_instance_uid) if study_instance_uid in known else {}

    def wait_for_state(
        self, study_instance_uid: str, *states: StudyState, seconds: float = LIMIT_SECONDS
    ) -> dict[str, Any]:
        """Return the study's document once it is in one of these states."""
        return wait_until(
            lambda: (found := self.study(study_instance_uid)).get("state") in states and found,
            f"study in {states}",
            seconds=seconds,
            context=lambda: f"{self.study(study_instance_uid)}\n{self.tail()}",
        )

    def wait_until_all_is_sent(self, study_instance_uid: str, *, seconds: float = LIMIT_SECONDS) -> dict[str, Any]:
        """Return the study's document once it is delivered and nothing of it is left to do: the pages come behind the report."""

        def nothing_left() -> bool:
            with self.ledger() as tx:
                left = jobs.anything_left(tx, study_instance_uid) or deliveries.anything_left(tx, study_instance_uid)
            return not left

        self.wait_for_state(study_instance_uid, StudyState.DELIVERED, seconds=seconds)
        wait_until(nothing_left, "everything is sent", seconds=seconds, context=self.tail)
        return self.study(study_instance_uid)

    def cli(self, *arguments: str, code: int = 0) -> str:
        """Run `egfr-dls ARGUMENTS --config FILE` and return its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "egfr_dls", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == code, f"egfr-dls {arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def durable_instances(self) -> set[str]:
        """Return the SOP Instance UIDs that `studies list --instances` prints."""
        return set(self.cli("studies", "list", "--instances").split())

    # its processes

    def pids(self) -> dict[str, int]:
        """Return the newest process of each stage."""
        return {line["kind"]: line["pid"] for line in self.events("stage_started")}

    def kill(self, stage: str) -> int:
        """SIGKILL a stage's process, wait until the supervisor has seen it, and return its process id."""
        deaths = len(self.events("stage_died", kind=stage))
        pid = wait_until(
            lambda: is_running(newest := self.pids()[stage]) and newest, f"{stage} runs", context=self.tail
        )
        os.kill(pid, signal.SIGKILL)
        self.wait_for_event("stage_died", count=deaths + 1, kind=stage)
        return pid

    def wait_until_ready(self, *, starts: int = 1) -> None:
        """Wait until every stage has come up ``starts`` times."""
        self.wait_for_event("listening", count=starts)
        self.wait_for_event("ready", count=starts, stage="inference")
        self.wait_for_event("ready", count=starts, stage="reporter")

    def running_pids(self) -> list[int]:
        """Return every process that this service started and that has not ended."""
        started = [line["pid"] for line in self.events("stage_started")]
        return [pid for pid in started if is_running(pid)]

    def stop(self) -> int:
        """SIGTERM; return the exit code, once it and every stage have ended."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_LIMIT_SECONDS)
        wait_until(lambda: not self.running_pids(), "no process is left", seconds=STOP_LIMIT_SECONDS, context=self.tail)
        return code

    def clean_up(self) -> None:
        """End whatever is left, whichever way the test went."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        for pid in self.running_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._log.close()


@contextmanager
def running_service(folder: Path, sections: Sections, *, prefix: Sequence[str] = ()) -> Iterator[Service]:
    """Run the service until the block ends; then it must drain and end with 0, and leave no process.

    ``prefix`` is a command that runs it elsewhere (in a network namespace).
    """
    service = Service(folder, sections, prefix=prefix)
    try:
        service.wait_until_ready()
        yield service
        assert service.stop() == 0, service.tail()
        assert not service.events("stage_killed"), service.tail()  # each stage ended by itself, in time
    finally:
        service.clean_up()


def service_sections(folder: Path, models: Path, *pacs_ports: int, **changes: Mapping[str, object]) -> dict[str, Any]:
    """Return a configuration: SCANNER and PACS may send, results go to each PACS; ``changes`` are merged by section."""
    sections: dict[str, Any] = {
        "storage": {"root": str(folder / "root"), "min_free_bytes": 0},
        "listener": {"port": free_port(), "drain_seconds": DRAIN_SECONDS},
        "study": {"quiet_seconds": QUIET_SECONDS},
        "inference": {"models": str(models)},
        "reporting": {"pages": False},
        "listener.peers": [{"ae_title": title, "host": "127.0.0.1"} for title in (SCANNER, PACS)],
        "destinations": [
            {"name": f"pacs{n}", "ae_title": PACS, "host": "127.0.0.1", "port": port, "retry_seconds": 0.2}
            for n, port in enumerate(pacs_ports, 1)
        ],
    }
    for section, values in changes.items():
        sections[section] = {**sections.get(section, {}), **values}
    return sections


def toml(sections: Sections) -> str:
    """Write sections, and lists of them as arrays of tables; JSON's strings, numbers and booleans are TOML's."""
    lines: list[str] = []
    for name, content in sections.items():
        tables = [(f"[{name}]", content)] if isinstance(content, Mapping) else [(f"[[{name}]]", t) for t in content]
        for head, values in tables:
            lines += [head, *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
