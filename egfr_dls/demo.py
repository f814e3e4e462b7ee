"""`egfr-dls demo`: one synthetic PET/CT study over the network through every stage, and the report that comes back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time
from rich.console import Console

from egfr_dls import settings, stages
from egfr_dls.errors import EgfrDlsError
from egfr_dls.findings import ObjectEntry, StudyFindings
from egfr_dls.ledger import Ledger, results, studies
from egfr_dls.objectstore import write_atomically
from egfr_dls.study import StudyState

SCANNER, NODE, PACS = "DEMO_SCANNER", "EGFR_DLS", "DEMO_PACS"
LIMIT_SECONDS = 120.0
SEED = 7
ENDS = frozenset({StudyState.DELIVERED, StudyState.FAILED, StudyState.NOT_APPLICABLE})


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
    with tempfile.TemporaryDirectory(prefix="egfr-dls-demo-") as private, console.status("making a phantom") as status:
        stages.write_phantom(out / "study", SEED, roi)
        objects = out / "objects"
        _empty(objects)
        with _pacs(objects) as pacs_port:
            config = _write_config(Path(private), _free_port(), pacs_port)
            loaded = settings.load(
                config, tomllib.loads(config.read_text(encoding="utf-8"))
            )  # the environment has no say
            status.update("starting the service")
            with _service(config, Path(private) / "service.log"):
                _wait_for_echo(loaded)
                status.update("sending the study by C-STORE")
                _send(sorted((out / "study").glob("*.dcm")), loaded)
                status.update("waiting for the report")
                findings = _wait_for_result(loaded)
    entries = _received(objects)
    pages = next((ds for entry, ds in entries if entry.kind == "pages"), None)
    listed = [entry for entry, _ in entries]
    write_atomically(out / "report.html", stages.report_html(findings, pages, listed, loaded).encode())
    click.echo(stages.report_text(findings, loaded))
    click.echo(f"study          {out / 'study'}")
    for entry, _ in entries:
        click.echo(f"{entry.kind:14} {out / entry.path}")
    click.echo(f"as a page      {out / 'report.html'}")


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.dcm"):
        old.unlink()


@contextmanager
def _pacs(folder: Path) -> Iterator[int]:
    """Run a PACS that keeps what it gets, one file a kind of object, on a free loopback port."""
    ae = AE(PACS)
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)

    def keep(event: evt.Event) -> int:
        kind = KINDS.get(str(event.request.AffectedSOPClassUID), "other")
        write_atomically(folder / f"{kind}.dcm", event.encoded_dataset())
        return 0x0000

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    if server is None:
        raise EgfrDlsError("the PACS of the demonstration did not start")
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


KINDS = {
    "1.2.840.10008.5.1.4.1.1.88.34": "report",
    "1.2.840.10008.5.1.4.1.1.66.4": "roi",
    "1.2.840.10008.5.1.4.1.1.7.4": "pages",
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_config(private: Path, port: int, pacs_port: int) -> Path:
    lines = [
        "[storage]",
        f"root = {json.dumps(str(private / 'store'))}",
        "min_free_bytes = 0",
        "[listener]",
        f"port = {port}",
        f'peers = [{{ ae_title = "{SCANNER}", host = "127.0.0.1" }}]',
        "[study]",
        "quiet_seconds = 1",
        "[[destinations]]",
        f'name = "demo"\nae_title = "{PACS}"\nhost = "127.0.0.1"\nport = {pacs_port}',
    ]
    path = private / "demo.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@contextmanager
def _service(config: Path, log: Path) -> Iterator[None]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EGFR_DLS_")}
    with log.open("wb") as out:
        process = subprocess.Popen(  # our own module
            [sys.executable, "-m", "egfr_dls", "run", "--config", str(config)], stderr=out, env=environment
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait_for_echo(loaded: settings.Settings) -> None:
    ae = AE(SCANNER)
    ae.add_requested_context(Verification)
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        assoc = ae.associate("127.0.0.1", loaded.listener.port, ae_title=NODE)
        if assoc.is_established:
            assoc.send_c_echo()
            assoc.release()
            return
        time.sleep(0.1)
    raise EgfrDlsError("the service did not answer C-ECHO; see its log")


def _send(files: list[Path], loaded: settings.Settings) -> None:
    ae = AE(SCANNER)
    for sop_class in sorted({str(dcmread(f, specific_tags=["SOPClassUID"]).SOPClassUID) for f in files}):
        ae.add_requested_context(sop_class)
    assoc = ae.associate("127.0.0.1", loaded.listener.port, ae_title=NODE)
    for file in files:
        status = assoc.send_c_store(file) if assoc.is_established else Dataset()
        if status.get("Status") != 0x0000:
            raise EgfrDlsError(f"C-STORE of {file.name} was not answered with success")
    assoc.release()


def _wait_for_result(loaded: settings.Settings) -> StudyFindings:
    ledger = Ledger(loaded.ledger_url)
    deadline = time.monotonic() + LIMIT_SECONDS
    try:
        while time.monotonic() < deadline:
            with ledger.read() as tx:
                found = studies.listed(tx)
                if found and found[0].state in ENDS:
                    row = results.newest(tx, found[0].study_instance_uid)
                    if row is not None and found[0].state == StudyState.DELIVERED:
                        return StudyFindings.from_json(row.document)
                    raise EgfrDlsError(f"the study ended as {found[0].state}")
            time.sleep(0.1)
    finally:
        ledger.close()
    raise EgfrDlsError("no report came back in time")


def _received(folder: Path) -> list[tuple[ObjectEntry, Dataset]]:
    found = [(path, dcmread(path)) for path in sorted(folder.glob("*.dcm"))]
    return [
        (ObjectEntry(path.stem, f"objects/{path.name}", str(ds.SOPClassUID), str(ds.SOPInstanceUID)), ds)
        for path, ds in found
    ]
