"""Images a second of loading and of training, beside a plain PyTorch loop: ``python -m benchmarks.training [--images 2048]``.

Both have the same images in memory, the same network, optimizer and batch. Prints a Markdown table with CPU time, which other
programs on the machine do not change much, and wall time. Needs the extra ``training``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from training_export.networks import SResCNN
from training_export.training.loop import Plan, fit
from training_export.training.machine import Machine
from training_export.training.recipe import Augmentation, Recipe, load_recipe
from training_export.training.sampling import plain
from training_export.training.slices import Slices

STILL = Augmentation(mirror=False, rotation_degrees=0, zoom=0, shift=0, contrast=0)


@dataclass(frozen=True)
class Row:
    """Images a second, by CPU time and by the clock."""

    what: str
    of_cpu: float
    of_clock: float


def noise(images: int) -> Slices:
    """Return images of noise, one a patient."""
    rng = np.random.default_rng(0)
    return Slices(
        images=rng.standard_normal((images, 3, 64, 64), dtype=np.float32),
        rows=np.arange(images),
        label=np.arange(images) % 2,
        patient=np.arange(images),
        counted=np.ones(images, np.bool_),
        names=tuple(f"P{n}" for n in range(images)),
    )


def load_ours(slices: Slices, recipe: Recipe) -> None:
    """Read every image once, in random order, a batch at a time."""
    order = plain(slices.label, np.random.default_rng(0))
    for start in range(0, len(order), recipe.batch):
        torch.from_numpy(slices.batch(order[start : start + recipe.batch]))


def load_plainly(slices: Slices, recipe: Recipe) -> None:
    """Do the same with PyTorch's own loader."""
    for _ in _loader(slices, recipe):
        pass


def train_ours(slices: Slices, recipe: Recipe) -> None:
    """Train for an epoch."""
    fit(SResCNN, slices, None, recipe.model_copy(update={"epochs": 1, "sampling": "plain"}), Plan(0, Machine("cpu")))


def train_plainly(slices: Slices, recipe: Recipe) -> None:
    """Train for an epoch as PyTorch's tutorials do."""
    torch.manual_seed(0)
    torch.set_num_threads(recipe.threads)
    network = SResCNN()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    network.train()
    for images, labels in _loader(slices, recipe):
        loss = criterion(network.logits(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _loader(slices: Slices, recipe: Recipe) -> Any:
    data = TensorDataset(torch.from_numpy(slices.images), torch.from_numpy(slices.label))
    return DataLoader(data, batch_size=recipe.batch, shuffle=True)


def measured(what: str, work: Callable[[Slices, Recipe], None], slices: Slices, recipe: Recipe, rounds: int) -> Row:
    """Return the medians of some rounds, after one that does not count."""
    work(slices, recipe)
    cpu, clock = [], []
    for _ in range(rounds):
        start = time.process_time(), time.perf_counter()
        work(slices, recipe)
        cpu.append(len(slices) / (time.process_time() - start[0]))
        clock.append(len(slices) / (time.perf_counter() - start[1]))
    return Row(what, statistics.median(cpu), statistics.median(clock))


def rows(images: int, rounds: int) -> list[Row]:
    """Measure everything."""
    recipe, slices = load_recipe("pet_ct_egfr"), noise(images)
    still = recipe.model_copy(update={"augmentation": STILL})
    with TemporaryDirectory() as folder:
        file = Path(folder) / "images.npy"
        np.save(file, slices.images)
        mapped = replace(slices, images=np.load(file, mmap_mode="r"))
        return [
            measured("loading, plain PyTorch (DataLoader)", load_plainly, slices, recipe, rounds),
            measured("loading, egfr-dls, from memory", load_ours, slices, recipe, rounds),
            measured("loading, egfr-dls, from a mapped file", load_ours, mapped, recipe, rounds),
            measured("training, plain PyTorch", train_plainly, slices, still, rounds),
            measured("training, egfr-dls, images as they are", train_ours, slices, still, rounds),
            measured("training, egfr-dls, augmented", train_ours, slices, recipe, rounds),
        ]


def table(found: list[Row]) -> str:
    """Return the Markdown table."""
    lines = [f"| {row.what} | {row.of_cpu:,.0f} | {row.of_clock:,.0f} |" for row in found]
    return "\n".join(["| | images per second of CPU | images per second |", "|---|--:|--:|", *lines])


def main() -> None:
    """Read the options, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(table(rows(options.images, options.rounds)))


if __name__ == "__main__":
    main()
