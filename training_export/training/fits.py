"""The trainings that a run consists of: one with a part held out, or one a fold and a last one on everybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training_export.class_map_network import ClassMapNetwork
from training_export.evaluation.discrimination import auc, auc_interval
from training_export.evaluation.estimates import NotEstimableError
from training_export.networks import SmallResidualNetwork, SResCNN
from training_export.resnet50 import ResNet50
from training_export.training.checkpoint import Epoch
from training_export.training.loop import Fitted, Plan, Watcher, fit, patient_scores, slice_scores
from training_export.training.machine import Machine
from training_export.training.recipe import Recipe
from training_export.training.record import Scored
from training_export.training.slices import Slices
from training_export.training.source import Data
from training_export.training.splits import Split, folds, hold_out, stated
from training_export.training.transfer import read_weights, start_from

NETWORKS: dict[str, Callable[[], ClassMapNetwork]] = {
    "srescnn": SResCNN,
    "small": SmallResidualNetwork,
    "resnet50": ResNet50,
}
FITS = "fits"  # folder of the checkpoints
SPLIT_STREAM = 0  # of the seed; the fits have 1, 2, ...


@dataclass(frozen=True)
class Bench:
    """What every fit of a run shares; ``watch`` gives a fit's watcher by its name."""

    recipe: Recipe
    seed: int
    machine: Machine
    out: Path
    make: Callable[[], ClassMapNetwork]
    watch: Callable[[str], Watcher] = lambda _: Watcher()

    def fit(self, number: int, name: str, training: Slices, validation: Slices | None, epochs: int) -> Fitted:
        """Do one fit of the run, or the rest of it."""
        checkpoint = self.out / FITS / f"{name.replace(' ', '-')}.pt"
        plan = Plan(_seed(self.seed, number), self.machine, checkpoint, self.watch(name))
        return fit(self.make, training, validation, self.recipe.model_copy(update={"epochs": epochs}), plan)

    def scored(self, cohort: str, fitted: Fitted, slices: Slices) -> Scored:
        """Score images that the fit was not trained on."""
        network = fitted.network.to(self.machine.device)
        return Scored(cohort, slices, slice_scores(network, slices, self.machine))


@dataclass(frozen=True, eq=False)
class Trained:
    """The network of a run, every fit's epochs by name, the patients that were scored, and what that showed, in words."""

    network: ClassMapNetwork
    histories: dict[str, tuple[Epoch, ...]]
    scored: tuple[Scored, ...]
    split: str
    performance: str


def network_maker(recipe: Recipe, pretrained: Path | None) -> Callable[[], ClassMapNetwork]:
    """Return what makes the recipe's network, with given weights where there are such."""
    make = NETWORKS[recipe.network]
    if pretrained is None:
        return make
    weights = read_weights(pretrained)

    def started() -> ClassMapNetwork:
        network = ResNet50()
        start_from(network, weights, pretrained.name)
        return network

    return started


def train_held_out(data: Data, bench: Bench) -> Trained:
    """Train once; the validation part chooses the epoch, the test part is only measured on."""
    slices, recipe = data.slices, bench.recipe
    split = _one_split(data, bench)
    fitted = bench.fit(1, "network", slices.of(split.training), slices.of(split.validation), recipe.epochs)
    scored = tuple(bench.scored(part, fitted, slices.of(getattr(split, part))) for part in ("validation", "test"))
    figures = {part.cohort: _figures(part, recipe) for part in scored}
    return Trained(
        network=fitted.network.cpu(),
        histories={"network": fitted.history},
        scored=scored,
        split=f"{len(split.training)} to train, {len(split.validation)} to choose the epoch, {len(split.test)} to measure",
        performance=(
            f"held-out patients: {figures['test']}; the patients that chose epoch {fitted.best_epoch} of {recipe.epochs}, "
            f"optimistic: {figures['validation']}"
        ),
    )


def train_in_folds(data: Data, bench: Bench) -> Trained:
    """Train once a fold, then on everybody for the median of the folds' best epochs."""
    slices, recipe = data.slices, bench.recipe
    histories: dict[str, tuple[Epoch, ...]] = {}
    scored, best = [], []
    splits = folds(slices.patient_labels, recipe.split.folds, _rng(bench.seed))
    for number, split in enumerate(splits, 1):
        name = f"fold {number}"
        fitted = bench.fit(number, name, slices.of(split.training), slices.of(split.validation), recipe.epochs)
        histories[name] = fitted.history
        scored.append(bench.scored(name, fitted, slices.of(split.validation)))
        best.append(fitted.best_epoch)
    epochs = max(1, round(float(np.median(best))))
    last = bench.fit(len(splits) + 1, "everybody", slices, None, epochs)
    return Trained(
        network=last.network,
        histories={**histories, "everybody": last.history},
        scored=tuple(scored),
        split=f"{len(splits)} folds, then everybody",
        performance=_of_folds(scored, recipe, best, epochs),
    )


def _one_split(data: Data, bench: Bench) -> Split:
    names, labels, shares = data.slices.names, data.slices.patient_labels, bench.recipe.split
    if data.parts is not None:
        return stated(names, labels, data.parts)
    return hold_out(labels, shares.validation, shares.test, _rng(bench.seed))


def _of_folds(scored: list[Scored], recipe: Recipe, best: list[int], epochs: int) -> str:
    results = [patient_scores(part.scores, part.slices, recipe.patient)[1:] for part in scored]
    areas = np.array([auc(*result) for result in results])
    return (
        f"{len(scored)}-fold cross-validation: mean AUC {areas.mean():.3f} (SD {areas.std(ddof=1):.3f}), optimistic, for each "
        f"fold chose its own best epoch ({', '.join(map(str, best))}); this network was trained on every patient for {epochs} "
        "epochs and is itself measured on none"
    )


def _figures(part: Scored, recipe: Recipe) -> str:
    _, labels, scores = patient_scores(part.scores, part.slices, recipe.patient)
    try:
        interval = "DeLong 95 % {:.3f}-{:.3f}".format(*auc_interval(labels, scores))
    except NotEstimableError as error:
        interval = f"no interval: {error}"
    right = int(((scores >= recipe.patient.cut_off) == labels).sum())
    return (
        f"AUC {auc(labels, scores):.3f} ({interval}), {right} of {len(labels)} right at {recipe.patient.cut_off:g}, "
        f"{int(labels.sum())} positive"
    )


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLIT_STREAM])


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
