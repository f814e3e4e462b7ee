"""``egfr-dls suv``: SUVbw of a PET series and its regions, for site acceptance with phantoms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from egfr_dls.errors import ExitCode, UsageError
from inference.read.folder import read_folder
from inference.read.header import text
from inference.roi.lesion_statistics import MTV_THRESHOLD
from inference.suv_report import is_roi, suv_document

# What the table prints of the document, before the regions.
FACTS: tuple[tuple[str, str], ...] = (
    ("study", "study_instance_uid"),
    ("series", "series_instance_uid"),
    ("units", "units"),
    ("factor, g/ml per unit", "factor"),
    ("factor from", "factor_source"),
    ("reference time", "reference_time"),
    ("reference from", "reference_source"),
    ("injection", "injection_time"),
    ("uptake, min", "uptake_minutes"),
)
COLUMNS: tuple[tuple[str, str], ...] = (
    ("region", "label"),
    ("voxels", "voxels"),
    ("ml", "volume_ml"),
    ("min", "suv_min"),
    ("median", "suv_median"),
    ("mean", "suv_mean"),
    ("max", "suv_max"),
    ("MTV, ml", "mtv_ml"),
    ("TLG, g", "tlg_g"),
)


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--roi", "rois", multiple=True, type=click.Path(path_type=Path), help="SEG or RTSTRUCT to measure; repeatable."
)
@click.option("--series", "series_uid", help="SeriesInstanceUID of the PET to measure.")
@click.option(
    "--mtv-threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=MTV_THRESHOLD,
    show_default=True,
    help="Share of a region's maximum.",
)
@click.option("--any-isotope", is_flag=True, help="Measure isotopes other than F-18 too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (egfr-dls-suv/1) on standard output.")
def suv(
    path: Path, rois: tuple[Path, ...], series_uid: str | None, mtv_threshold: float, any_isotope: bool, as_json: bool
) -> None:
    """Print SUVbw of the PET series under PATH and of the regions drawn on it."""
    contents = read_folder(path)
    click.echo(f"{len(contents.datasets)} DICOM objects read, {contents.skipped} other files skipped", err=True)
    _require_one_study(path, contents.datasets)
    document = suv_document(
        contents.datasets,
        _roi_objects(rois),
        series_uid,
        mtv_threshold,
        any_isotope=any_isotope,
    )
    if as_json:
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        _print(document)
    if document["status"] == "refused":
        raise SystemExit(ExitCode.REFUSED)


def _require_one_study(path: Path, datasets: Sequence[Dataset]) -> None:
    studies = sorted({text(ds, "StudyInstanceUID") for ds in datasets})
    if len(studies) > 1:
        raise UsageError(f"{path} holds {len(studies)} studies: {', '.join(studies)}; give the folder of one")


def _roi_objects(paths: Sequence[Path]) -> list[Dataset]:
    objects = [ds for path in paths for ds in read_folder(path).datasets if is_roi(ds)]
    if paths and not objects:
        raise UsageError(f"--roi {', '.join(map(str, paths))} holds no SEG or RTSTRUCT object; give one")
    return objects


def _print(document: Mapping[str, Any]) -> None:
    console = Console(width=120, highlight=False, soft_wrap=True)
    facts = Table(show_header=False, box=None)
    for name, key in FACTS:
        facts.add_row(name, _shown(document[key]))
    console.print(facts)
    regions = [r for r in (document["whole_series"], *document["rois"]) if r is not None]
    if regions:
        table = Table(*(name for name, _ in COLUMNS), title="SUVbw, g/ml")
        for region in regions:
            table.add_row(*(_shown(region[key]) for _, key in COLUMNS))
        console.print(table)
    for kind, remarks in (
        ("series refused", document["series_refused"]),
        ("warning", document["warnings"]),
        ("REFUSED", [r for r in (document["refusal"],) if r]),
    ):
        for remark in remarks:
            console.print(f"{kind}: {remark['code']}: {remark['message']}", markup=False)


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
