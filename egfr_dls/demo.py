"""`egfr-dls demo`: one synthetic PET/CT study over the network through every stage, and the report that comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from pydicom import dcmread
from pydicom.dataset import Dataset
from rich.console import Console

from egfr_dls import demo_network, settings, stages
from egfr_dls.atomic_file import write_atomically
from egfr_dls.errors import EgfrDlsError
from egfr_dls.findings import ObjectEntry, StudyFindings
from egfr_dls.ledger import Ledger, Tx, deliveries, jobs, results, studies
from egfr_dls.study import StudyState

LIMIT_SECONDS = 120.0
STOP_SECONDS = 60.0
SEED = 7
ENDS = frozenset({StudyState.DELIVERED, StudyState.FAILED, StudyState.NOT_APPLICABLE})
TRUTH = {0: "EGFR wild type", 1: "EGFR mutant"}


@click.command()
@click.option("--out", default="demo-out", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--roi",
    type=click.Choice(["seg", "none"]),
    default="none",
    show_default=True,
    help="Stored ROI, or a proposed one.",
)
def demo(out: Path, roi: str) -> None:
    """Make a phantom study, run the service, send the study to it, and show the report that comes back."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="egfr-dls-demo-") as private, console.status("...") as status:
        say = status.update if console.is_terminal else console.print
        findings, loaded = _through_the_service(out, roi, Path(private), say)
    entries = _received(out)
    pages = next((ds for entry, ds in entries if entry.kind == "pages"), None)
    listed = [entry for entry, _ in entries]
    write_atomically(out / "report.html", stages.report_html(findings, pages, listed, loaded).encode())
    click.echo(stages.report_text(findings, loaded))
    truth = json.loads((out / "study" / "truth.json").read_text(encoding="utf-8"))
    click.echo(f"this phantom is  {TRUTH[truth['label']]}, by construction")
    click.echo(f"study            {out / 'study'}")
    for entry in listed:
        click.echo(f"{entry.kind:16} {out / entry.path}")
    click.echo(f"as a page        {out / 'report.html'}")


def _through_the_service(
    out: Path, roi: str, private: Path, say: Callable[[str], None]
) -> tuple[StudyFindings, settings.Settings]:
    say("making a phantom study")
    stages.write_phantom(out / "study", SEED, roi)
    _empty(out / "objects")
    with demo_network.pacs(out / "objects") as pacs_port:
        port = demo_network.free_port()
        config = _write_config(private, port, pacs_port)
        loaded = settings.load(config, tomllib.loads(config.read_text(encoding="utf-8")))  # the environment has no say
        say("starting the service")
        with _service(config, out / "service.log"):
            demo_network.wait_for_node(port, LIMIT_SECONDS)
            say("sending the study by C-STORE")
            demo_network.send(sorted((out / "study").glob("*.dcm")), port)
            say("waiting for the report")
            return _wait_for_result(loaded, out / "service.log"), loaded


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.dcm"):
        old.unlink()


def _write_config(private: Path, port: int, pacs_port: int) -> Path:
    lines = [
        "[storage]",
        f"root = {json.dumps(str(private / 'store'))}",
        "min_free_bytes = 0",
        "[listener]",
        f"port = {port}",
        f'peers = [{{ ae_title = "{demo_network.SCANNER}", host = "{demo_network.HOST}" }}]',
        "[study]",
        "quiet_seconds = 1",
        "[[destinations]]",
        f'name = "demo"\nae_title = "{demo_network.PACS}"\nhost = "{demo_network.HOST}"\nport = {pacs_port}',
    ]
    path = private / "demo.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@contextmanager
def _service(config: Path, log: Path) -> Iterator[None]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EGFR_DLS_")}
    command = [sys.executable, "-m", "egfr_dls", "run", "--config", str(config)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_SECONDS)


def _wait_for_result(loaded: settings.Settings, log: Path) -> StudyFindings:
    ledger = Ledger(loaded.ledger_url)
    deadline = time.monotonic() + LIMIT_SECONDS
    try:
        while time.monotonic() < deadline:
            with ledger.read() as tx:
                found = next((row for row in studies.listed(tx) if row.state in ENDS), None)
                row = None if found is None else results.newest(tx, found.study_instance_uid)
                waits = found is not None and _has_more_to_come(tx, found.study_instance_uid)
            if found is not None and not waits:
                if row is not None and found.state == StudyState.DELIVERED:
                    return StudyFindings.from_json(row.document)
                raise EgfrDlsError(f"the study ended as {found.state}; the service's log is {log}")
            time.sleep(0.1)
    finally:
        ledger.close()
    raise EgfrDlsError(f"no report came back within {LIMIT_SECONDS:.0f} s; the service's log is {log}")


def _has_more_to_come(tx: Tx, study_instance_uid: str) -> bool:
    """Whether pages are being drawn or sent: they come behind the report."""
    return jobs.anything_left(tx, study_instance_uid) or deliveries.anything_left(tx, study_instance_uid)


def _received(out: Path) -> list[tuple[ObjectEntry, Dataset]]:
    found = [(path, dcmread(path)) for path in sorted((out / "objects").glob("*.dcm"))]
    return [
        (ObjectEntry(path.stem, f"objects/{path.name}", str(ds.SOPClassUID), str(ds.SOPInstanceUID)), ds)
        for path, ds in found
    ]
