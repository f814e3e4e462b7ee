"""``egfr-dls evaluate``: the figures of a network on the site's own patients, as JSON, plots and a report."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from egfr_dls.atomic_file import SHARED, write_atomically
from egfr_dls.errors import ConfigurationError, UsageError
from egfr_dls.findings import RESEARCH_USE

if TYPE_CHECKING:
    from training_export.evaluation.evaluate import Evaluation

CSV = click.Path(exists=True, dir_okay=False, path_type=Path)
MODULES = {"sklearn": "scikit-learn", "lifelines": "lifelines", "statsmodels": "statsmodels", "pandas": "pandas"}
REPORTS = (".html", ".pdf")
SHARE = click.FloatRange(0, 1)


@click.command()
@click.option("--slices", type=CSV, required=True, help="CSV: patient,slice,p0,p1[,model][,label][,area_mm2].")
@click.option("--patients", type=CSV, required=True, help="CSV: patient, and what is known of each.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The JSON document to write."
)
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Folder for the plots, PNG and SVG.")
@click.option("--report", metavar="HTML|PDF", help="A file ending so; the bare word: beside --out.")
@click.option(
    "--aggregate", default="mean", show_default=True, help="mean, median, max, min, quantile:Q, area-weighted."
)
@click.option("--cut-off", type=SHARE, default=0.5, show_default=True, help="Scores at or above it are high.")
@click.option("--compare", type=CSV, help="CSV: scores of another model on the same patients.")
@click.option("--raters", type=CSV, multiple=True, help="CSVs: scores of repeated regions of interest, two or more.")
@click.option("--strata", metavar="COLUMN", help="Column of --patients whose groups are shown each for itself.")
@click.option(
    "--days-per-month", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="For pfs_days."
)
@click.option("--json", "as_json", is_flag=True, help="Print the document.")
@click.argument("more_raters", nargs=-1, type=CSV, metavar="")
def evaluate(
    out: Path, plots: Path | None, report: str | None, *, as_json: bool, more_raters: tuple[Path, ...], **request: Any
) -> None:
    """Say how well scores do: discrimination, calibration, survival, each with its interval. Research use only."""
    _require_extra()
    if more_raters and not request["raters"]:
        raise UsageError(
            f"{more_raters[0].name}: no option says what this is; needed: --raters before it, or another option"
        )
    request["raters"] = (*request["raters"], *more_raters)
    report_file = None if report is None else _report_file(report, out)
    from training_export.evaluation.evaluate import Request  # imports the extra
    from training_export.evaluation.evaluate import evaluate as evaluated

    with Console(stderr=True).status("evaluating"):
        found = evaluated(Request(**request))
        _write(found, out, plots, report_file)
    click.echo(_text(found.document).rstrip() if as_json else _summary(found, [out, report_file, plots]))


def _require_extra() -> None:
    missing = [package for module, package in MODULES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} not installed; needed: the extra evaluate (pip install 'egfr-dls[evaluate]')"
        )


def _report_file(report: str, out: Path) -> Path:
    """Return the report's file: ``html`` or ``pdf`` alone stands for the document's name with that ending."""
    if f".{report.lower()}" in REPORTS:
        return out.with_suffix(f".{report.lower()}")
    if Path(report).suffix.lower() not in REPORTS:
        raise UsageError(f"--report {report}: no kind of report; needed: a file ending in .html or .pdf")
    return Path(report)


def _write(found: Evaluation, out: Path, plots: Path | None, report: Path | None) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, _text(found.document).encode(), SHARED)
    if plots is None and report is None:
        return
    from training_export.evaluation.plots import drawn, write_plots  # loads matplotlib

    figures = drawn(found)
    if plots is not None:
        write_plots(figures, plots)
    if report is not None:
        from training_export.evaluation.report import write_report

        write_report(found.document, figures, report)


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _summary(found: Evaluation, written: Sequence[Path | None]) -> str:
    """Return a line a cohort, how much is not estimable, and where the rest stands."""
    document = found.document
    lines = [RESEARCH_USE]
    for cohort, entry in document["integrity"].items():
        binary, survival = document["binary"].get(cohort), document["survival"].get(cohort)
        parts = [f"{cohort}: {entry['patients']} patients, {entry['slices']} slices"]
        if binary is not None:
            parts.append(
                f"{binary['positives']} of {binary['n']} positive, AUC {_shown(binary['auc'], binary['auc_ci95_delong'])}"
            )
        if survival is not None:
            ratio = survival["cox"]["efron"]
            parts.append(f"hazard ratio high to low {_shown(ratio['hr'], ratio['ci95'])}")
        lines.append("; ".join(parts))
    if unmatched := max(entry["unmatched"] for entry in document["integrity"].values()):
        lines.append(f"warning: {unmatched} slices belong to no patient of --patients and do not count")
    lines += [f"not estimable: {len(document['not_estimable'])} figures, with their reasons in the document"] * bool(
        document["not_estimable"]
    )
    return "\n".join([*lines, *(f"-> {path}" for path in written if path is not None)])


def _shown(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "not estimable"
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
