"""Small sets of images whose label can be seen in them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training_export.training.slices import Slices

SIZE = 64


def stripes(patients: int, slices: int = 2, seed: int = 0, size: int = SIZE) -> Slices:
    """Return noise; in the second channel of every other patient there are rings, a sign that turning does not change."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), slices)
    label = patient % 2
    images = rng.standard_normal((len(patient), 3, size, size)).astype(np.float32)
    images[:, 1] += np.where(label[:, None, None] == 1, _rings(size), 0)
    return Slices(
        images=images,
        rows=np.arange(len(patient)),
        label=label.astype(np.int64),
        patient=patient,
        counted=np.ones(len(patient), np.bool_),
        names=tuple(f"P{number:03d}" for number in range(patients)),
    )


def write_crops(folder: Path, patients: int = 24, seed: int = 0, positives: float = 0.5) -> Path:
    """Write a phantom-like set of brain-metastasis crops: blobs, and in those of mutants a ring that takes up contrast."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    label = (np.arange(patients) % round(1 / positives) == 0).astype(int)
    y, x = np.indices((96, 96)) - 47.5
    radius = rng.uniform(12, 24, patients)[:, None, None]
    distance = np.hypot(y, x)[None]
    blob = 2.0 / (1 + np.exp((distance - radius) / 2))
    ring = 3.0 * np.exp(-(((distance - radius) / 3) ** 2)) * label[:, None, None]
    crops = (blob + ring)[:, None] + rng.normal(0, 0.4, (patients, 5, 96, 96))
    np.save(folder / "crops.npy", crops.astype(np.float32))
    with (folder / "lesions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["patient", "label", "slices"])
        rows.writerows([f"B{number:03d}", int(label[number]), 5 if number % 3 else 4] for number in range(patients))
    return folder


def _rings(size: int) -> NDArray[np.float32]:
    y, x = np.indices((size, size)) - (size - 1) / 2
    return (2 * np.sin(0.8 * np.hypot(y, x))).astype(np.float32)
