"""``egfr-dls models import``: a published network's file becomes a model package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from egfr_dls import settings
from egfr_dls.errors import ConfigurationError, ExitCode, UsageError
from inference.engine.contract import EngineOptions
from inference.engine.deviation import Deviation
from inference.engine.gate import load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.manifest import MANIFEST_NAME, ModelPackage, Preprocessing
from training_export.import_manifest import LABELS, RECIPE, Request, manifest_facts, plain_name
from training_export.isolation import convert_isolated
from training_export.network_refusal import NetworkRefusedError
from training_export.package_writer import write_package

if TYPE_CHECKING:
    from training_export.convert import Converted
    from training_export.reference_scores import Agreement

SCHEMA = "egfr-dls-model-import/1"
SATURATED = "the golden answers are all near 0 or 1, so the golden test finds coarse faults only; give reference scores"
INPUT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="import")
@click.argument("file", type=INPUT_FILE)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="The package's folder.")
@click.option("--name", help="Name of the package; default: the file's.")
@click.option("--version", "version", default="1.0.0", show_default=True, help="Version of the package.")
@click.option("--task", type=click.Choice(sorted(LABELS)), default="egfr", show_default=True, help="What it scores.")
@click.option(
    "--preprocessing", type=click.Choice([RECIPE, "none"]), help="How its input is made; default: by the input's shape."
)
@click.option(
    "--status",
    type=click.Choice(["research", "site-validated", "demonstration"]),
    default="research",
    show_default=True,
    help="What it may be used for.",
)
@click.option("--licence", default="not stated", show_default=True, help="Under which terms it may be used.")
@click.option("--reference-inputs", type=INPUT_FILE, help="NPY: images whose scores are known.")
@click.option("--reference-scores", type=INPUT_FILE, help="Text: the original network's score of each of them.")
@click.option("--force", is_flag=True, help="Replace a package that is already there.")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file; names the folder of packages."
)
@click.option("--json", "as_json", is_flag=True, help=f"One JSON document ({SCHEMA}) on standard output.")
def import_network(
    file: Path,
    out: Path | None,
    reference_inputs: Path | None,
    reference_scores: Path | None,
    config: Path | None,
    *,
    force: bool,
    as_json: bool,
    **facts: Any,
) -> None:
    """Turn FILE (Keras 2.x HDF5, or ONNX) into a model package; nothing in FILE is run as code."""
    _require_extra()
    if (reference_inputs is None) != (reference_scores is None):
        raise UsageError("--reference-inputs and --reference-scores belong together; give both or none")
    request = Request(**{**facts, "name": facts["name"] or plain_name(file.stem)})
    folder = out or _default_folder(config, request)
    if (folder / MANIFEST_NAME).exists() and not force:
        raise UsageError(f"{folder} holds a package already; --force replaces it")
    try:
        with Console(stderr=True).status(f"reading {file.name}"):
            converted = convert_isolated(file)
            agreement = _agreement(converted, reference_inputs, reference_scores)
    except NetworkRefusedError as error:
        if not as_json:
            raise
        refusal = {"code": error.reason, "message": error.message}
        click.echo(json.dumps({"schema": SCHEMA, "status": "refused", "refusal": refusal, "model": None}))
        raise SystemExit(ExitCode.REFUSED) from error
    facts_given = manifest_facts(converted, request, agreement)
    package = write_package(folder, facts_given, converted.network, converted.golden.arrays, converted.half)
    deviation = _golden_test(package)
    report = _document(package, deviation, agreement, saturated=converted.golden.saturated)
    click.echo(json.dumps(report) if as_json else _text(report))


def _require_extra() -> None:
    missing = [name for name in ("h5py", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{' and '.join(missing)} not installed; needed: the extra import (pip install 'egfr-dls[import]')"
        )


def _default_folder(config: Path | None, request: Request) -> Path:
    models = settings.load_or_default(config).inference.models
    if models is None:
        raise UsageError("--out is missing; needed: --out DIR, or [inference] models in the configuration")
    return models / f"{request.name}-{request.version}"


def _agreement(converted: Converted, inputs: Path | None, scores: Path | None) -> Agreement | None:
    from training_export.reference_scores import compare  # imports the extra

    return None if inputs is None or scores is None else compare(converted, inputs, scores, Preprocessing().class_index)


def _golden_test(package: ModelPackage) -> Deviation:
    scorer = load_scorer(package, OrtBackend(), EngineOptions())
    scorer.session.close()
    return scorer.deviation


# --- what is printed --------------------------------------------------------------------------------------------------


def _document(
    package: ModelPackage, deviation: Deviation, agreement: Agreement | None, *, saturated: bool
) -> dict[str, Any]:
    manifest = package.manifest
    return {
        "schema": SCHEMA,
        "status": "imported",
        "refusal": None,
        "model": {
            "key": package.key,
            "folder": str(package.folder),
            **manifest.model_dump(mode="json", exclude={"schema_"}),
        },
        "golden_deviation": deviation.prob,
        "reference": None
        if agreement is None
        else {"largest_difference": agreement.largest, "allowed": agreement.allowed, "scores": agreement.n_scores},
        "warnings": [
            *([SATURATED] if saturated and manifest.logits is None else []),
            *(f"no {precision} variant: {reason}" for precision, reason in manifest.left_out.items()),
        ],
    }


def _text(report: dict[str, Any]) -> str:
    model, reference = report["model"], report["reference"]
    taken = f"taken by the biomarker of task {model['task']}" if model["preprocessing"] else "taken by no biomarker"
    inputs = " + ".join(model["input"]["names"])
    compared = (
        f"{reference['scores']} reference scores differ by {reference['largest_difference']:.3g} at most"
        if reference
        else "no reference scores were given: that the scores are the original's is not shown"
    )
    lines = [
        f"{model['key']} -> {model['folder']}",
        f"input {inputs} {model['input']['shape']}, classes: {', '.join(model['labels'])}; {taken}",
        f"class maps: {'{} x {}'.format(*model['cam']['grid']) if model['cam'] else 'none, the head does not allow them'}",
        f"golden test passed, largest difference {report['golden_deviation']:.3g}; precisions: {', '.join(model['variants'])}",
        compared,
        *(f"warning: {warning}" for warning in report["warnings"]),
    ]
    return "\n".join(lines)
