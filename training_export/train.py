"""Train a small network on the CPU: the same seed and examples give the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training_export.dataset import Examples
from training_export.networks import SmallResidualNetwork

LABEL_SMOOTHING = 0.05  # keeps a small network from saying 0.0000 or 1.0000
LARGEST_SHIFT_PIXELS = 3


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained."""

    epochs: int = 8
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What one pass gave; the validation loss is the cross-entropy of patient scores."""

    number: int
    training_loss: float
    validation_loss: float


def train(
    training: Examples,
    validation: Examples,
    task: str,
    settings: TrainingSettings,
    report: Callable[[Epoch], None],
) -> SmallResidualNetwork:
    """Return the network of the epoch with the least patient-level validation loss, in evaluation mode."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)  # sums in a fixed order
    torch.use_deterministic_algorithms(mode=True)
    rng = np.random.default_rng(settings.seed)
    network = SmallResidualNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(training.images) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
    best: tuple[float, Any] = (np.inf, None)
    for number in range(1, settings.epochs + 1):
        loss = _one_epoch(network, training, task, settings.batch, rng, optimizer, schedule)
        labels, scores = patient_scores(network, validation, task)
        epoch = Epoch(number, loss, _cross_entropy(labels, scores))
        report(epoch)
        if epoch.validation_loss < best[0]:
            best = (epoch.validation_loss, copy.deepcopy(network.state_dict()))
    network.load_state_dict(best[1])
    network.eval()
    return network


def patient_scores(
    network: SmallResidualNetwork, examples: Examples, task: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return label and score of every phantom: mean over the slices of its largest lesion under the true mask."""
    network.eval()
    chosen = np.flatnonzero(examples.stored_primary)
    with torch.inference_mode():
        parts = [
            torch.softmax(network.logits(torch.from_numpy(examples.images[piece])), dim=1)[:, 1].numpy()
            for piece in np.array_split(chosen, -(-len(chosen) // 256))
        ]
    slices, seeds = np.concatenate(parts), examples.seed[chosen]
    labels = examples.labels(task)[chosen]
    patients, first = np.unique(seeds, return_index=True)
    return labels[first], np.array([slices[seeds == patient].mean() for patient in patients], np.float64)


def _one_epoch(
    network: SmallResidualNetwork,
    examples: Examples,
    task: str,
    batch: int,
    rng: np.random.Generator,
    optimizer: Any,
    schedule: Any,
) -> float:
    network.train()
    criterion = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    order = rng.permutation(len(examples.images))
    labels, total = examples.labels(task), 0.0
    for start in range(0, len(order), batch):
        piece = order[start : start + batch]
        images = torch.from_numpy(_augmented(examples.images[piece], rng))
        loss = criterion(network.logits(images), torch.from_numpy(labels[piece]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach()) * len(piece)
    return total / len(order)


def _augmented(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Turn by a quarter, mirror and shift the whole batch ``[n, 3, rows, columns]``; edges wrap round."""
    turned = np.rot90(images, int(rng.integers(4)), axes=(2, 3))
    mirrored = turned[..., ::-1] if rng.random() < 0.5 else turned
    shift = rng.integers(-LARGEST_SHIFT_PIXELS, LARGEST_SHIFT_PIXELS + 1, 2)
    return np.ascontiguousarray(np.roll(mirrored, tuple(int(v) for v in shift), axis=(2, 3)))


def _cross_entropy(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    of_truth = np.clip(np.where(labels == 1, scores, 1.0 - scores), 1e-7, None)
    return float(-np.log(of_truth).mean())
