"""How the plots look: one pair of colours that colour-blind readers tell apart (Okabe and Ito), thin lines, no frame."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

CLASSES = ("#0072B2", "#D55E00")  # negative or low, positive or high
MUTED = "#8a9199"
STYLE: Any = {  # matplotlib's type of its settings names each of some 300 keys
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "egfr-dls",  # the same figure gives the same bytes
    "pdf.fonttype": 42,
}


def new_figure() -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    ax = figure.subplots()
    axes(ax)
    return figure, ax


def axes(ax: Axes) -> None:
    """Take away the frame's upper and right side."""
    ax.spines[["top", "right"]].set_visible(False)
