"""Tables of an evaluation, made up: known truth, and identifiers that must never come out again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

IDENTIFIER = "HOSP-4711"  # every patient's name begins so
SLICES = ("patient", "slice", "p0", "p1", "model")


@dataclass(frozen=True)
class Tables:
    """Two files, written."""

    slices: Path
    patients: Path

    @property
    def arguments(self) -> list[str]:
        """What the command line takes."""
        return ["--slices", str(self.slices), "--patients", str(self.patients)]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def identifier(number: int) -> str:
    """Return a patient's name."""
    return f"{IDENTIFIER}-{number:05d}"


def write_tables(
    folder: Path, patients: Mapping[str, Sequence[Any]], slices: Mapping[str, Sequence[Sequence[float]]]
) -> Tables:
    """Write columns of patients, and for each model the slice scores of each patient."""
    columns = list(patients)
    n = len(next(iter(patients.values())))
    rows = ([identifier(i), *(patients[c][i] for c in columns)] for i in range(n))
    table = write_rows(folder / "patients.csv", ["patient", *columns], rows)
    scored = (
        [identifier(i), f"z{k}", repr(1 - score), repr(score), model]
        for model, of_patient in slices.items()
        for i, scores in enumerate(of_patient)
        for k, score in enumerate(scores)
    )
    return Tables(write_rows(folder / "slices.csv", SLICES, scored), table)


@dataclass(frozen=True)
class Truth:
    """How a made-up cohort is drawn."""

    n: int = 200
    separation: float = 1.2  # of the classes, in standard deviations of the score's logit
    hazard_ratio: float = 0.4  # high against low
    seed: int = 0


def simulated(folder: Path, truth: Truth = Truth(), *, cohorts: Sequence[str] = ("site",)) -> Tables:
    """Write a cohort with everything: two models, follow-up, treatment, response."""
    rng = np.random.default_rng(truth.seed)
    label = (rng.random(truth.n) < 0.4).astype(int)
    logit = rng.normal(truth.separation * (label - 0.5), 1)
    egfr = [np.clip(1 / (1 + np.exp(-(v + rng.normal(0, 0.4, 3)))), 1e-6, 1 - 1e-6).tolist() for v in logit]
    pdl1 = rng.uniform(0.05, 0.95, (truth.n, 2)).tolist()
    high = np.array([np.mean(s) >= 0.5 for s in egfr])
    months = rng.exponential(10 / np.where(high, truth.hazard_ratio, 1.0))
    end = rng.uniform(4, 30, truth.n)
    blank = rng.random(truth.n) < 0.1
    patients: dict[str, Sequence[Any]] = {
        "cohort": [cohorts[i % len(cohorts)] for i in range(truth.n)],
        "label": ["" if b else int(v) for b, v in zip(blank, label, strict=True)],
        "pdl1_label": (rng.random(truth.n) < 0.5).astype(int).tolist(),
        "histology": rng.choice(["adenocarcinoma", "squamous"], truth.n, p=[0.8, 0.2]).tolist(),
        "sex": rng.choice(["f", "m"], truth.n).tolist(),
        "age": rng.integers(40, 85, truth.n).tolist(),
        "suvmax": rng.gamma(4, 3, truth.n).round(2).tolist(),
        "treatment": rng.choice(["TKI", "ICI"], truth.n).tolist(),
        "pfs_months": np.minimum(months, end).round(2).tolist(),
        "progression": (months <= end).astype(int).tolist(),
        "response": rng.choice(["CR", "PR", "SD", "PD", "NE"], truth.n).tolist(),
    }
    return write_tables(folder, patients, {"egfr": egfr, "pdl1": pdl1})
