"""What a run leaves beside its package: log, curves, and the scores for ``egfr-dls evaluate``; needs no PyTorch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from egfr_dls.atomic_file import SHARED, write_atomically
from training_export.training.slices import Slices

if TYPE_CHECKING:
    from training_export.training.checkpoint import Epoch

LOG, CURVES, SLICES, PATIENTS = "log.csv", "curves.png", "slices.csv", "patients.csv"
LOG_COLUMNS = ("fit", "epoch", "training_loss", "validation_loss", "validation_auc", "seconds")


@dataclass(frozen=True, eq=False)
class Scored:
    """Images of patients that a network has not trained on: ``cohort`` says what part they had."""

    cohort: str
    slices: Slices
    scores: NDArray[np.float64]


def write_log(folder: Path, fits: Mapping[str, Sequence[Epoch]]) -> None:
    """Write a row for each epoch of each fit."""
    rows = [
        (name, e.number, e.training_loss, e.validation_loss, e.validation_auc, round(e.seconds, 3))
        for name, history in fits.items()
        for e in history
    ]
    _write_csv(folder / LOG, LOG_COLUMNS, rows)


def write_curves(folder: Path, fits: Mapping[str, Sequence[Epoch]]) -> None:
    """Draw loss and AUC over the epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, area = figure.subplots(1, 2)
    for number, (name, history) in enumerate(fits.items()):
        colour, epochs = f"C{number}", [e.number for e in history]
        loss.plot(epochs, [e.training_loss for e in history], "--", color=colour, label=f"{name}, training")
        judged = [e for e in history if e.validation_loss is not None]
        if not judged:
            continue
        best = min(judged, key=lambda e: e.validation_loss or 0.0)
        loss.plot(epochs, [e.validation_loss for e in judged], color=colour, label=f"{name}, validation (patients)")
        loss.plot(best.number, best.validation_loss, "o", color=colour)
        area.plot(epochs, [e.validation_auc for e in judged], color=colour, label=name)
    loss.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    area.set(xlabel="epoch", ylabel="AUC of validation patients", ylim=(0, 1.02))
    loss.legend(fontsize="x-small")
    figure.savefig(folder / CURVES, dpi=110, metadata={"Software": None})


def write_scores(folder: Path, parts: Sequence[Scored], task: str) -> None:
    """Write the scores of patients that were not trained on, in the form that ``egfr-dls evaluate`` reads."""
    slices: list[Sequence[Any]] = []
    patients: dict[str, Sequence[Any]] = {}
    for part in parts:
        for place in np.flatnonzero(part.slices.counted):
            name, label = part.slices.names[int(part.slices.patient[place])], int(part.slices.label[place])
            score = float(part.scores[place])
            slices.append((name, int(part.slices.rows[place]), 1 - score, score, task, label))
            patients[name] = (name, part.cohort, label)
    _write_csv(folder / SLICES, ("patient", "slice", "p0", "p1", "model", "label"), slices)
    of_task = "label" if task == "egfr" else f"{task}_label"
    _write_csv(folder / PATIENTS, ("patient", "cohort", of_task), list(patients.values()))


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    write_atomically(path, text.getvalue().encode(), SHARED)
