"""How long an evaluation takes, in a process of its own."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SLICES = 30
COMMAND = "from egfr_dls import cli; import sys; cli.main(sys.argv[1:])"


@dataclass(frozen=True)
class Timed:
    """Wall seconds of one call."""

    patients: int
    what: str
    seconds: float


def write_cohort(folder: Path, patients: int, seed: int) -> list[str]:
    """Write labels, follow-up and ``SLICES`` slices of each patient; returns the options that name the files."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, patients)
    logit = rng.normal(label * 1.5 - 0.75, 1)
    score = 1 / (1 + np.exp(-(logit[:, None] + rng.normal(0, 0.5, (patients, SLICES)))))
    months = rng.exponential(np.where(score.mean(axis=1) >= 0.5, 12, 6)).round(2)
    with (folder / "slices.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "slice", "p0", "p1"))
        writer.writerows((i, k, f"{1 - s:.7f}", f"{s:.7f}") for i in range(patients) for k, s in enumerate(score[i]))
    with (folder / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "label", "pfs_months", "progression"))
        writer.writerows(zip(range(patients), label, months, rng.integers(0, 4, patients) > 0, strict=True))
    text = (folder / "patients.csv").read_text(encoding="utf-8")
    (folder / "patients.csv").write_text(text.replace("True", "1").replace("False", "0"), encoding="utf-8")
    return ["--slices", str(folder / "slices.csv"), "--patients", str(folder / "patients.csv")]


def time_evaluation(patients: int, seed: int) -> list[Timed]:
    """Return the seconds of the document alone, and with plots and report."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ["evaluate", *write_cohort(folder, patients, seed), "--out", str(folder / "evaluation.json")]
        for what, more in (("document", []), ("document, plots, HTML", ["--plots", name, "--report", "html"])):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", COMMAND, *options, *more], check=True, capture_output=True)
            found.append(Timed(patients, what, time.perf_counter() - start))
    return found


def speed_table(found: list[Timed]) -> str:
    """Return the times as Markdown."""
    lines = [f"| patients, {SLICES} slices each | written | seconds, start of Python included |", "|--:|---|--:|"]
    return "\n".join([*lines, *(f"| {t.patients} | {t.what} | {t.seconds:.1f} |" for t in found)])
