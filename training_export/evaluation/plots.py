"""The plots of an evaluation, each a matplotlib figure with a name and a sentence that says what it shows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egfr_dls.atomic_file import SHARED, write_atomically
from training_export.evaluation.estimates import Floats
from training_export.evaluation.evaluate import Evaluation
from training_export.evaluation.group import Group
from training_export.evaluation.plot_survival import survival_figure
from training_export.evaluation.resampling import roc_band
from training_export.evaluation.style import CLASSES, MUTED, STYLE, axes, new_figure
from training_export.evaluation.threshold import curve

FORMATS = ("png", "svg")
RESOLUTION_DPI = 200
JITTER_SEED = 0
# no clock in a file: the same tables give the same bytes
UNDATED: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure of one cohort: ``kind`` is roc, distributions, calibration or survival."""

    kind: str
    cohort: str
    alt: str
    figure: Figure

    @property
    def name(self) -> str:
        """The file's name without ending; of a cohort's name only plain letters and digits."""
        return f"{self.kind}-{re.sub('[^a-z0-9]+', '-', self.cohort.lower()).strip('-') or 'cohort'}"

    def encoded(self, kind: str) -> bytes:
        """Return the figure as a PNG or SVG file."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format=kind, dpi=RESOLUTION_DPI, metadata=UNDATED[kind])
        return buffer.getvalue()


def drawn(evaluation: Evaluation) -> tuple[Drawn, ...]:
    """Return every plot that the data allow."""
    with mpl.rc_context(STYLE):
        return tuple(_drawn(evaluation))


def write_plots(figures: tuple[Drawn, ...], folder: Path) -> None:
    """Write each figure as PNG and SVG; cohorts whose names differ only in punctuation are numbered."""
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for figure in figures:
        name, number = figure.name, 1
        while name in taken:
            number += 1
            name = f"{figure.name}-{number}"
        taken.add(name)
        for kind in FORMATS:
            write_atomically(folder / f"{name}.{kind}", figure.encoded(kind), SHARED)


def _drawn(evaluation: Evaluation) -> Iterator[Drawn]:
    document, cut_off = evaluation.document, evaluation.cut_off
    for cohort, group in evaluation.cohorts.items():
        if cohort in document["binary"]:
            labelled, entry = group.labelled, document["binary"][cohort]
            if entry["auc"] is not None:
                yield Drawn("roc", cohort, "ROC curve with 95 % band and the cut-off", _roc(labelled, entry))
            yield Drawn("distributions", cohort, "Scores of each class", _distributions(labelled, cut_off))
            bins = document["calibration"][cohort]["bins"]
            yield Drawn(
                "calibration", cohort, "Observed share of positives by score", _calibration(labelled.score, bins)
            )
        if cohort in document["survival"]:
            alt = "Kaplan-Meier curves of high and low scores, with numbers at risk"
            yield Drawn("survival", cohort, alt, survival_figure(group.followed, cut_off, document["survival"][cohort]))


def _roc(group: Group, entry: dict[str, Any]) -> Figure:
    figure, ax = new_figure()
    found = curve(group.label, group.score)
    ax.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=":")
    if entry["auc_ci95_delong"] is not None:
        band = roc_band(group.label, group.score)
        ax.fill_between(band.false_positive, band.low, band.high, color=CLASSES[1], alpha=0.15, lw=0, label="95 % band")
    ax.plot(1 - found.specificity, found.sensitivity, color=CLASSES[1], drawstyle="steps-post", label=_area_text(entry))
    if entry["sensitivity"] is not None and entry["specificity"] is not None:
        _operating_point(ax, entry)
    ax.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.legend(loc="lower right")
    return figure


def _area_text(entry: dict[str, Any]) -> str:
    interval = entry["auc_ci95_delong"]
    limits = "interval not estimable" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}"
    return f"AUC {entry['auc']:.2f} ({limits})"


def _operating_point(ax: Axes, entry: dict[str, Any]) -> None:
    """Mark the cut-off with the Wilson intervals of sensitivity and specificity."""
    x, y = 1 - entry["specificity"], entry["sensitivity"]
    low, high = entry["specificity_ci95_wilson"]
    across = [[x - (1 - high)], [(1 - low) - x]]
    low, high = entry["sensitivity_ci95_wilson"]
    upright = [[y - low], [high - y]]
    ax.errorbar(
        [x], [y], xerr=np.maximum(across, 0), yerr=np.maximum(upright, 0), fmt="o", ms=5, color="black", lw=1,
        capsize=2, label="cut-off, 95 % intervals",
    )  # fmt: skip


def _distributions(group: Group, cut_off: float) -> Figure:
    figure, ax = new_figure()
    rng = np.random.default_rng(JITTER_SEED)
    for value in (0, 1):
        scores = group.score[group.label == value]
        if len(scores):
            height = value + rng.uniform(-0.28, 0.28, len(scores))
            size = float(np.clip(60 / np.sqrt(len(scores)), 1, 6))
            ax.plot(scores, height, "o", ms=size, mew=0, alpha=0.45, color=CLASSES[value], rasterized=True)
            ax.boxplot(
                [scores], orientation="horizontal", positions=[value], widths=0.66, showfliers=False, whis=(5, 95),
                medianprops={"color": "black", "lw": 1.5},
            )  # fmt: skip
    ax.axvline(cut_off, color="black", lw=0.8, ls="--")
    ax.text(cut_off, 1.52, f" cut-off {cut_off:g}", va="bottom", ha="left", fontsize=8)
    names = [f"{name}\nn = {int((group.label == value).sum())}" for value, name in enumerate(("negative", "positive"))]
    ax.set_yticks([0, 1], names)
    ax.set(xlabel="score of the patient", xlim=(-0.02, 1.02), ylim=(-0.5, 1.5))
    return figure


def _calibration(scores: Floats, bins: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes(ax)
    axes(below)
    x, y = (np.array([b[key] for b in bins]) for key in ("mean_score", "observed"))
    low, high = np.array([b["observed_ci95_wilson"] for b in bins]).T
    ax.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=":", label="score = probability")
    ax.errorbar(
        x, y, yerr=np.maximum([y - low, high - y], 0), fmt="o-", ms=4, lw=1, capsize=2, color=CLASSES[1],
        label="patients in bins, 95 % interval",
    )  # fmt: skip
    ax.set(ylabel="share of positives", ylim=(-0.02, 1.02))
    ax.legend(loc="upper left")
    below.hist(scores, bins=np.linspace(0, 1, 41), color=MUTED)
    below.set(xlabel="score of the patient", ylabel="patients", xlim=(-0.02, 1.02))
    return figure
