"""``egfr-dls train``: a network for a biomarker, from a site's own patients to a model package."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from egfr_dls.errors import ConfigurationError, UsageError
from training_export.import_manifest import LABELS, check_name
from training_export.training.recipe import BIOMARKERS, Recipe, load_recipe
from training_export.training.source import PET_CT, Data, phantom_data, read_data
from training_export.training.stated_split import read_split

if TYPE_CHECKING:
    from training_export.training.run import Request

NAMES = {"pet_ct_egfr": "site-pet-ct", "mr_brain_metastasis_egfr": "site-brain-mr"}
# Threads that wait for one another sleep instead of spinning: on a busy machine that is several times faster. Read by the
# OpenMP library when PyTorch is imported.
IDLE_THREADS = ("OMP_WAIT_POLICY", "PASSIVE")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("biomarker", type=click.Choice(BIOMARKERS))
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The labelled patients.")
@click.option(
    "--phantoms", type=click.IntRange(min=1), help="In the place of --data: so many synthetic PET/CT studies."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run.")
@click.option("--settings", "settings_file", type=FILE, help="TOML: hyper-parameters other than the defaults.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of split, weights and order.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="What computes."
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out, where it was interrupted.")
@click.option("--task", type=click.Choice(sorted(LABELS)), default="egfr", show_default=True, help="What it scores.")
@click.option("--split", "split_file", type=FILE, help="CSV (patient, split): who is training, validation or test.")
@click.option(
    "--pretrained", type=FILE, help="Weights of torchvision's resnet50 to start from (safetensors, or PyTorch)."
)
@click.option("--name", help="Name of the package; default by biomarker and task.")
@click.option("--version", "version", default="1.0.0", show_default=True, help="Version of the package.")
@click.option("--licence", default="not stated", show_default=True, help="Under which terms it may be used.")
def train(
    biomarker: str,
    data: Path | None,
    phantoms: int | None,
    settings_file: Path | None,
    device: str,
    *,
    task: str,
    name: str | None,
    split_file: Path | None,
    pretrained: Path | None,
    out: Path,
    seed: int,
    version: str,
    licence: str,
    resume: bool,
) -> None:
    """Train a network for BIOMARKER and leave a model package, log.csv and curves.png in --out."""
    recipe = load_recipe(biomarker, settings_file)
    _require_extra()
    os.environ.setdefault(*IDLE_THREADS)
    _check(biomarker, data, phantoms, pretrained, recipe)
    parts = None if split_file is None else _stated(split_file, recipe)
    name = name or f"{NAMES[biomarker]}-{task}"
    check_name("name", name)
    check_name("version", version)
    from training_export.training.run import Request  # imports the extra

    console = Console(stderr=True)
    request = Request(biomarker, task, out, seed, name, version, licence, pretrained, resume)
    source = (
        phantom_data(phantoms, task, recipe.threads, console)
        if phantoms
        else read_data(biomarker, data or Path(), task)
    )
    click.echo(_trained(replace(source, parts=parts), recipe, request, device, console))


def _require_extra() -> None:
    missing = [name for name in ("torch", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{' and '.join(missing)} not installed; needed: the extra training (pip install 'egfr-dls[training]')"
        )


def _check(biomarker: str, data: Path | None, phantoms: int | None, pretrained: Path | None, recipe: Recipe) -> None:
    """Refuse options that do not fit each other."""
    if (data is None) == (phantoms is None):
        raise UsageError("needed: either --data DIR or --phantoms N")
    if phantoms is not None and biomarker != PET_CT:
        raise UsageError(f"--phantoms: there are phantoms for {PET_CT} alone")
    if pretrained is not None and not recipe.transfer:
        raise UsageError(
            f"--pretrained: the recipe of {biomarker} (network {recipe.network}) starts from none: transfer is false"
        )


def _stated(split_file: Path, recipe: Recipe) -> Mapping[str, str]:
    if recipe.split.folds:
        raise UsageError(
            "--split: the recipe has folds, so every patient validates once; needed: folds = 0, or no --split"
        )
    return read_split(split_file)


def _trained(data: Data, recipe: Recipe, request: Request, device: str, console: Console) -> str:
    """Train, and return what is printed."""
    from training_export.training.machine import Machine  # these import the extra
    from training_export.training.run import run
    from training_export.training.screen import Screen

    machine = Machine.chosen(device, mixed_precision=recipe.mixed_precision)
    with Screen(console, request.out) as screen:
        package = run(data, recipe, request, machine, screen)
    manifest = package.manifest
    lines = [
        f"{package.key} ({manifest.status}) -> {package.folder}",
        f"trained on {manifest.trained_on}",
        manifest.performance,
        f"log.csv, curves.png, slices.csv and patients.csv (for egfr-dls evaluate) lie in {request.out}",
    ]
    if manifest.preprocessing is None:
        lines.append("no biomarker of this version takes it: its images are made elsewhere")
    return "\n".join(lines)
