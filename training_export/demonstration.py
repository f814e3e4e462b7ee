"""Re-make the two demonstration networks: ``python -m training_export.demonstration --out inference/models``.

They prove that every stage works and say nothing about patients. Progress goes to standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.progress import track

from inference.models.manifest import ModelPackage, Preprocessing
from training_export.dataset import TRAINING_SEED, VALIDATION_SEED, Examples, make_examples
from training_export.export_onnx import PackageFacts, export_package
from training_export.networks import SmallResidualNetwork
from training_export.statistics import auc
from training_export.train import Epoch, TrainingSettings, patient_scores, train

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
    settings: TrainingSettings = field(default_factory=TrainingSettings)


def make_networks(out: Path, effort: Effort, console: Console) -> tuple[ModelPackage, ...]:
    """Train, export and check both packages; returns them."""
    training = _examples("training", TRAINING_SEED, effort.training_phantoms, console)
    validation = _examples("validation", VALIDATION_SEED, effort.validation_phantoms, console)
    packages = []
    for demonstration in DEMONSTRATIONS:
        console.print(f"{demonstration.name}: {len(training.images)} hyper-images")
        network = train(training, validation, demonstration.task, effort.settings, _printer(console))
        facts = _facts(demonstration, network, validation, effort)
        packages.append(export_package(network, facts, out / f"{demonstration.name}-{VERSION}"))
        console.print(f"{demonstration.name}: {facts.performance}")
    return tuple(packages)


def _examples(what: str, first: int, count: int, console: Console) -> Examples:
    seeds: Iterable[int] = range(first, first + count)
    return make_examples(track(seeds, description=f"{what} phantoms", total=count, console=console), Preprocessing())


def _printer(console: Console) -> Callable[[Epoch], None]:
    def show(epoch: Epoch) -> None:
        console.print(f"  epoch {epoch.number}: loss {epoch.training_loss:.4f}, validation {epoch.validation_loss:.4f}")

    return show


def _facts(
    demonstration: Demonstration, network: SmallResidualNetwork, validation: Examples, effort: Effort
) -> PackageFacts:
    n = effort.validation_phantoms
    area = auc(*patient_scores(network, validation, demonstration.task))
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
        preprocessing=Preprocessing(input_signature=demonstration.input_signature),
    )


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of packages.")
def main(out: Path) -> None:
    """Make the demonstration networks anew, from phantoms to packages."""
    make_networks(out, Effort(), Console(stderr=True))


if __name__ == "__main__":
    main()
