"""``egfr-dls export-cohort``: studies without their patients, as networks are trained and judged on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from egfr_dls import settings as configuration
from egfr_dls import telemetry
from egfr_dls.errors import ExitCode
from egfr_dls.settings import Settings
from inference.biomarkers.pet_ct_egfr.biomarker import PET_CT_EGFR
from inference.biomarkers.registry import load_scorers
from training_export.cohort.export import Exporter, Request
from training_export.cohort.key import CohortKey
from training_export.cohort.labels import Window
from training_export.cohort.patients import Fault, StudyPlace
from training_export.cohort.studies import FolderStudies, StudySource, service_studies

FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


@click.command("export-cohort")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Folder of DICOM files; without it, the service's studies.",
)
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file of the service.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the cohort.")
@click.option("--labels", type=FILE, help="CSV: what is known of each patient, by patient_id.")
@click.option("--pathology", multiple=True, type=FILE, help="Results of tissue tests, CSV or FHIR R4 JSON; repeatable.")
@click.option(
    "--days-before",
    default=365,
    show_default=True,
    type=click.IntRange(0),
    help="A specimen counts so long before a scan.",
)
@click.option(
    "--days-after",
    default=90,
    show_default=True,
    type=click.IntRange(0),
    help="A specimen counts so long after a scan.",
)
@click.option("--dicom", is_flag=True, help="Write de-identified copies of the images and regions, too.")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Site key; default: the service's, else OUT.key.",
)
@click.option("--json", "as_json", is_flag=True, help="Print cohort.json on standard output.")
def export_cohort(
    source: Path | None,
    config: Path | None,
    out: Path,
    labels: Path | None,
    pathology: tuple[Path, ...],
    days_before: int,
    days_after: int,
    key_file: Path | None,
    *,
    dicom: bool,
    as_json: bool,
) -> int:
    """De-identify studies and write their hyper-images, regions, labels and scores to the folder OUT."""
    loaded = _settings(
        config, source, key_file or (out.with_name(f"{out.name}.key") if source and not config else None)
    )
    request = Request(out, labels, pathology, Window(days_before, days_after), dicom)
    with _studies(source, loaded) as studies:
        key = CohortKey.of_site(telemetry.site_key(loaded))
        exporter = Exporter(studies, key, loaded, load_scorers(PET_CT_EGFR, loaded), request)
        manifest = exporter.export(_progress_bar)
    click.echo(json.dumps(manifest) if as_json else _text(manifest, out))
    return int(_ending(manifest["counts"]["refused_by_code"]))


def _ending(refused_by_code: dict[str, int]) -> ExitCode:
    """Return the worst ending of a study (docs/reference/commands.md)."""
    if Fault.DEFECT in refused_by_code:
        return ExitCode.DEFECT
    return ExitCode.REFUSED if refused_by_code else ExitCode.DONE


def _settings(config: Path | None, source: Path | None, key_file: Path | None) -> Settings:
    """Return the configuration; a folder of files needs none, and then keeps its key beside OUT."""
    loaded = configuration.load(config) if source is None else configuration.load_or_default(config)
    if key_file is None:
        return loaded
    return loaded.model_copy(update={"logging": loaded.logging.model_copy(update={"site_key_file": key_file})})


@contextmanager
def _studies(source: Path | None, loaded: Settings) -> Iterator[StudySource]:
    if source is not None:
        yield FolderStudies(source)
        return
    with service_studies(loaded) as studies:
        yield studies


def _progress_bar(places: Sequence[StudyPlace]) -> Iterator[StudyPlace]:
    return iter(track(places, description="studies", console=Console(stderr=True)))


def _text(manifest: dict[str, Any], out: Path) -> str:
    counts = manifest["counts"]
    lines = [
        f"{counts['exported']} of {counts['studies']} studies of {counts['patients']} patients: {counts['images']} hyper-images",
        f"labels: EGFR {counts['labelled']['label']}, PD-L1 {counts['labelled']['pdl1_label']} studies",
        *(f"refused, {code}: {n}" for code, n in counts["refused_by_code"].items()),
        *(f"statements, {what}: {n}" for what, n in counts["statements"].items() if n),
        *(f"warning: text may be burned into {n} images ({code})" for code, n in counts["burned_in"].items()),
        *(f"copies left out, {code}: {n}" for code, n in counts["copies_left_out"].items()),
        *(
            f"warning: scores are of {n['name']}, a demonstration"
            for n in manifest["networks"]
            if n["status"] == "demonstration"
        ),
        f"written to {out}: cohort.json says what each file is; refused.csv what is not there",
    ]
    return "\n".join(lines)
