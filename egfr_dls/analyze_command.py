"""`egfr-dls analyze`: a folder of DICOM files without a network."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console

from egfr_dls import analysis, biomarkers, settings, stages
from egfr_dls.errors import ExitCode, UsageError

FIRST_YEAR = 1900


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file; defaults without it.")
@click.option("--study", "study_uid", help="StudyInstanceUID, where PATH holds several studies.")
@click.option("--biomarker", default=biomarkers.DEFAULT, show_default=True, help="Score for this biomarker.")
@click.option(
    "--roi", "rois", multiple=True, type=click.Path(path_type=Path), help="SEG or RTSTRUCT; beats those in PATH."
)
@click.option(
    "--context", type=click.Path(dir_okay=False, path_type=Path), help="JSON file: histology, tissue, treatment."
)
@click.option("--register", is_flag=True, help="Place the PET on the CT by an estimate from the images, always.")
@click.option("--at", "at", help="Date and time that stand in the objects (ISO 8601); default: of the acquisition.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json on standard output.")
def analyze(
    path: Path,
    out: Path,
    config: Path | None,
    study_uid: str | None,
    biomarker: str,
    rois: tuple[Path, ...],
    context: Path | None,
    register: bool,  # click passes flags so
    at: str | None,
    as_json: bool,
) -> int:
    """Score the study in PATH (a file or a folder, read recursively) and write result.json, report.html and objects/."""
    request = analysis.Request(path, out, study_uid, biomarker, rois, _moment(at), context, register)
    console = Console(stderr=True)
    with (
        analysis.private_settings(lambda own: settings.load(config, own)) as loaded,
        console.status("starting") as status,
    ):
        biomarkers.check_name(biomarker, loaded)
        document, found = analysis.analyse(request, loaded, lambda step: status.update(f"{step} ..."))
    if as_json:
        click.echo(json.dumps(document))
    else:
        click.echo(stages.report_text(found, loaded))
        click.echo(f"written to {out}: result.json, report.html, objects/")
    return int(ExitCode.REFUSED if document["refusal"] else ExitCode.DONE)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    needed = "needed: ISO 8601 without a zone, 1900 or later, as 2026-01-31T09:30:00"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--at {text}: not a date and time; {needed}") from error
    if moment.tzinfo is not None or moment.year < FIRST_YEAR:
        raise UsageError(f"--at {text}: {needed}")
    return moment
