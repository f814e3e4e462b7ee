"""The one training loop.

Every epoch's randomness is a function of the seed and the epoch's number, so an epoch that was interrupted is simply
done again. On a CPU the same seed, data, recipe and number of threads give the same weights, interrupted or not.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training_export.class_map_network import ClassMapNetwork
from training_export.evaluation.discrimination import auc
from training_export.training.augmentation import augmented, mixed_up
from training_export.training.checkpoint import Epoch, Progress
from training_export.training.losses import LOSSES
from training_export.training.machine import Machine
from training_export.training.recipe import PatientScore, Recipe
from training_export.training.refusal import Reason, TrainingRefusedError
from training_export.training.sampling import SAMPLINGS
from training_export.training.schedule import one_cycle
from training_export.training.slices import Slices

SCORED_AT_ONCE = 256  # images
CLASSES = 2
AGGREGATES: dict[str, Callable[[NDArray[np.float64]], Any]] = {"mean": np.mean, "median": np.median}


class Watcher:
    """Is told how a training goes on; this one says nothing."""

    def resumed(self, history: Sequence[Epoch]) -> None:
        """Hear which epochs were done before."""

    def step(self, share: float) -> None:
        """Hear which share of all batches is done."""

    def epoch(self, history: Sequence[Epoch]) -> None:
        """Hear that the last one of these epochs is done and safe."""


@dataclass(frozen=True)
class Plan:
    """One training: seed, device, where its state is kept (None: nowhere) and who is told."""

    seed: int
    machine: Machine
    checkpoint: Path | None = None
    watcher: Watcher = field(default_factory=Watcher)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network, in evaluation mode on the CPU; its weights are those after ``best_epoch``."""

    network: ClassMapNetwork
    history: tuple[Epoch, ...]
    best_epoch: int


def fit(
    make: Callable[[], ClassMapNetwork], training: Slices, validation: Slices | None, recipe: Recipe, plan: Plan
) -> Fitted:
    """Train a network that ``make`` makes; goes on where the plan's checkpoint stands.

    The network of the epoch with the least patient-level validation loss is kept; without validation, that of the last.
    """
    plan.machine.prepare(recipe.threads)
    torch.manual_seed(plan.seed)
    network = make().to(plan.machine.device)
    progress = Progress.read(plan.checkpoint) if plan.checkpoint and plan.checkpoint.exists() else Progress()
    plan.watcher.resumed(progress.history)
    if len(progress.history) < recipe.epochs:
        _go_on(network, training, validation, recipe, plan, progress)
    network.load_state_dict(progress.best)
    return Fitted(network.cpu().eval(), tuple(progress.history), progress.best_epoch)


def slice_scores(network: ClassMapNetwork, slices: Slices, machine: Machine) -> NDArray[np.float64]:
    """Return the positive class's probability of every image."""
    network.eval()
    pieces = np.array_split(np.arange(len(slices)), -(-len(slices) // SCORED_AT_ONCE))
    with torch.inference_mode():
        logits = [network.logits(torch.from_numpy(slices.batch(piece)).to(machine.device)) for piece in pieces]
        scores = torch.softmax(torch.cat(logits).double(), dim=1)[:, 1]
    return np.asarray(scores.cpu().numpy())


def patient_scores(
    scores: NDArray[np.float64], slices: Slices, recipe: PatientScore
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return number, label and score of every patient of these slices, made of the slices that count."""
    patients = np.unique(slices.patient)
    of_patient = [scores[slices.counted & (slices.patient == patient)] for patient in patients]
    aggregate = AGGREGATES[recipe.aggregate]
    return patients, slices.patient_labels[patients], np.array([aggregate(s) for s in of_patient], np.float64)


def _go_on(
    network: ClassMapNetwork,
    training: Slices,
    validation: Slices | None,
    recipe: Recipe,
    plan: Plan,
    progress: Progress,
) -> None:
    """Do the epochs that are left, and keep the state after each."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    if progress.history:
        network.load_state_dict(progress.network)
        optimizer.load_state_dict(progress.optimizer)
    for number in range(len(progress.history) + 1, recipe.epochs + 1):
        start = time.perf_counter()
        loss = _one_epoch(network, optimizer, training, recipe, plan, number)
        judged_loss, judged_auc = (
            (None, None) if validation is None else _validated(network, validation, recipe, plan.machine)
        )
        epoch = Epoch(number, loss, judged_loss, judged_auc, time.perf_counter() - start)
        _keep(progress, epoch, network, optimizer, last=number == recipe.epochs)
        if plan.checkpoint is not None:
            progress.write(plan.checkpoint)
        plan.watcher.epoch(progress.history)


def _keep(progress: Progress, epoch: Epoch, network: ClassMapNetwork, optimizer: Any, *, last: bool) -> None:
    losses = [e.validation_loss for e in progress.history if e.validation_loss is not None]
    better = epoch.validation_loss is None or epoch.validation_loss < min(losses, default=np.inf)
    progress.history.append(epoch)
    if better:
        progress.best_epoch, progress.best = epoch.number, copy.deepcopy(network.state_dict())
    progress.network = {} if last else network.state_dict()
    progress.optimizer = {} if last else optimizer.state_dict()


def _one_epoch(
    network: ClassMapNetwork, optimizer: Any, training: Slices, recipe: Recipe, plan: Plan, number: int
) -> float:
    """Return the mean loss of a pass through the training images."""
    rng = np.random.default_rng([plan.seed, number])
    torch.manual_seed(int(rng.integers(2**31)))  # of dropout
    network.train()
    order = SAMPLINGS[recipe.sampling](training.label, rng)
    batches = np.array_split(order, -(-len(order) // recipe.batch))
    total = torch.zeros((), device=plan.machine.device)
    for done, piece in enumerate(batches):
        step, steps = (number - 1) * len(batches) + done, recipe.epochs * len(batches)
        rate = one_cycle(step, steps, recipe.learning_rate, recipe.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _one_step(network, optimizer, training.batch(piece), training.label[piece], recipe, plan.machine, rng)
        total += loss * len(piece)
        plan.watcher.step((step + 1) / steps)
    mean = float(total) / len(order)
    if not np.isfinite(mean):
        raise TrainingRefusedError(
            Reason.DIVERGED,
            f"the loss of epoch {number} is {mean}; needed: a lower learning_rate (now {recipe.learning_rate:g})",
        )
    return mean


def _one_step(
    network: ClassMapNetwork,
    optimizer: Any,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    recipe: Recipe,
    machine: Machine,
    rng: np.random.Generator,
) -> Any:
    x = augmented(torch.from_numpy(images).to(machine.device), recipe.augmentation, rng)
    target = torch.nn.functional.one_hot(torch.from_numpy(labels), CLASSES).float().to(machine.device)
    if recipe.mixup:
        x, target = mixed_up(x, target, recipe.mixup, rng)
    with machine.precision():
        logits = network.logits(x)
    loss = LOSSES[recipe.loss](logits.float(), target, recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _validated(network: ClassMapNetwork, validation: Slices, recipe: Recipe, machine: Machine) -> tuple[float, float]:
    """Return cross-entropy and AUC of the validation patients' scores."""
    _, labels, scores = patient_scores(slice_scores(network, validation, machine), validation, recipe.patient)
    of_truth = np.clip(np.where(labels == 1, scores, 1.0 - scores), 1e-7, None)
    loss = float(-np.log(of_truth).mean())
    if not np.isfinite(loss):
        raise TrainingRefusedError(Reason.DIVERGED, "a validation score is no number; needed: a lower learning_rate")
    return loss, auc(labels, scores)
