"""Re-make the two demonstration networks: ``python -m training_export.demonstration --out inference/models``.

They prove that every stage works and say nothing about patients. Progress goes to standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
from rich.console import Console

from inference.models.manifest import ModelPackage, Preprocessing
from training_export.dataset import TRAINING_SEED, VALIDATION_SEED, Examples, make_examples
from training_export.evaluation.discrimination import auc
from training_export.export_onnx import PackageFacts, export_package
from training_export.networks import SmallResidualNetwork
from training_export.training.loop import Fitted, Plan, fit, patient_scores, slice_scores
from training_export.training.machine import Machine
from training_export.training.recipe import Recipe, load_recipe
from training_export.training.screen import Screen

VERSION = "1.0.0"
LICENCE = "as egfr-dls; the weights were made from synthetic phantoms alone"


@dataclass(frozen=True)
class Demonstration:
    """One network to make."""

    name: str
    task: Literal["egfr", "pdl1"]
    labels: tuple[str, str]
    input_signature: Literal["stacked", "planes"]
    signal: str


DEMONSTRATIONS = (
    Demonstration("demonstration-egfr", "egfr", ("wild type", "mutant"), "stacked", "gas bubbles on CT"),
    Demonstration("demonstration-pdl1", "pdl1", ("negative", "positive"), "planes", "lopsided uptake on PET"),
)


@dataclass(frozen=True)
class Effort:
    """How much is trained on, and how long."""

    training_phantoms: int = 240
    validation_phantoms: int = 60
    epochs: int = 8
    processes: int = 1

    @property
    def recipe(self) -> Recipe:
        """The recipe of PET/CT, with the small network and one thread."""
        own = {"network": "small", "epochs": self.epochs, "sampling": "plain", "threads": 1}
        return load_recipe("pet_ct_egfr").model_copy(update=own)


def make_networks(out: Path, effort: Effort, console: Console) -> tuple[ModelPackage, ...]:
    """Train, export and check both packages; returns them."""
    training = _examples(TRAINING_SEED, effort.training_phantoms, effort, console)
    validation = _examples(VALIDATION_SEED, effort.validation_phantoms, effort, console)
    packages = []
    for demonstration in DEMONSTRATIONS:
        console.print(f"{demonstration.name}: {len(training.images)} hyper-images")
        fitted = _fitted(demonstration, training, validation, effort, console)
        facts = _facts(demonstration, fitted, validation, effort)
        packages.append(export_package(fitted.network, facts, out / f"{demonstration.name}-{VERSION}"))
        console.print(f"{demonstration.name}: {facts.performance}")
    return tuple(packages)


def _examples(first: int, count: int, effort: Effort, console: Console) -> Examples:
    return make_examples(range(first, first + count), Preprocessing(), effort.processes, console)


def _fitted(
    demonstration: Demonstration, training: Examples, validation: Examples, effort: Effort, console: Console
) -> Fitted:
    task = demonstration.task
    with Screen(console) as screen:
        plan = Plan(seed=0, machine=Machine("cpu"), watcher=screen.watch(demonstration.name))
        return fit(SmallResidualNetwork, training.slices(task), validation.slices(task), effort.recipe, plan)


def _facts(demonstration: Demonstration, fitted: Fitted, validation: Examples, effort: Effort) -> PackageFacts:
    n, recipe = effort.validation_phantoms, Preprocessing(input_signature=demonstration.input_signature)
    slices = validation.slices(demonstration.task)
    scores = slice_scores(fitted.network, slices, Machine("cpu"))
    area = auc(*patient_scores(scores, slices, effort.recipe.patient)[1:])
    return PackageFacts(
        name=demonstration.name,
        version=VERSION,
        status="demonstration",
        task=demonstration.task,
        labels=demonstration.labels,
        licence=LICENCE,
        trained_on=(
            f"{effort.training_phantoms} synthetic PET/CT phantoms (seeds from {TRAINING_SEED}) whose label is drawn as "
            f"{demonstration.signal}; no patient data"
        ),
        performance=(
            f"patient-level AUC {area:.3f} on {n} phantoms (seeds from {VALIDATION_SEED}) that also chose the epoch; "
            "unseen phantoms: docs/demonstration-networks.md; says nothing about patients"
        ),
        preprocessing=recipe,
        input_shape=(len(recipe.channels), recipe.size, recipe.size),
    )


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of packages.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="That make phantoms.")
def main(out: Path, processes: int) -> None:
    """Make the demonstration networks anew, from phantoms to packages."""
    make_networks(out, Effort(processes=processes), Console(stderr=True))


if __name__ == "__main__":
    main()
