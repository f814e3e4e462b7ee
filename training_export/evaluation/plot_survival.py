"""Kaplan-Meier curves of high and low scores, with the numbers at risk beneath."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training_export.evaluation.follow_up import FollowUp, follow_up_of
from training_export.evaluation.group import Group
from training_export.evaluation.kaplan_meier import kaplan_meier
from training_export.evaluation.style import CLASSES, axes

NAMES = ("low score", "high score")
STEPS_MONTHS = (1, 2, 3, 6, 12, 24, 60)
MOST_TICKS = 9


def survival_figure(group: Group, cut_off: float, entry: dict[str, Any]) -> Figure:
    """Return the figure of patients with follow-up; ``entry`` is their part of the document."""
    follow_up, high = follow_up_of(group.patients), group.high(cut_off)
    groups = [follow_up.select(~high), follow_up.select(high)]
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
    axes(ax)
    for value, members in enumerate(groups):
        if len(members):
            _curve(ax, members, value)
    ticks = _ticks(float(follow_up.months.max()))
    ax.set(ylabel="free of progression", ylim=(0, 1.02), xlim=(0, max(ticks[-1], float(follow_up.months.max()), 1.0)))
    ax.set_xticks(ticks)
    ax.set_xlabel("months")
    ax.tick_params(labelbottom=True)
    ax.legend(loc="upper right")
    ax.set_title(_verdict(entry), fontsize=8, loc="left")
    _at_risk(below, groups, ticks)
    return figure


def _curve(ax: Axes, members: FollowUp, value: int) -> None:
    fit = kaplan_meier(members)
    survival = fit.survival_function_.iloc[:, 0]
    limits = fit.confidence_interval_.to_numpy()
    color, events = CLASSES[value], int(members.event.sum())
    ax.fill_between(survival.index, limits[:, 0], limits[:, 1], step="post", color=color, alpha=0.12, lw=0)
    label = f"{NAMES[value]}: {events} events in {len(members)}"
    ax.step(survival.index, survival, where="post", color=color, lw=1.5, label=label)
    censored = np.unique(members.months[~members.event])
    ax.plot(censored, fit.predict(censored), "|", color=color, ms=6, mew=0.8)


def _ticks(longest_months: float) -> list[float]:
    step = next((s for s in STEPS_MONTHS if longest_months / s <= MOST_TICKS), STEPS_MONTHS[-1] * 2)
    return [float(t) for t in np.arange(0, longest_months + 1e-9, step)]


def _verdict(entry: dict[str, Any]) -> str:
    ratio, p = entry["cox"]["efron"], entry["logrank_p"]
    hazard = "HR not estimable"
    if ratio["hr"] is not None:
        hazard = f"HR {ratio['hr']:.2f} ({ratio['ci95'][0]:.2f}–{ratio['ci95'][1]:.2f}), high against low"
    return hazard if p is None else f"{hazard}; log-rank p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def _at_risk(ax: Axes, groups: list[FollowUp], ticks: list[float]) -> None:
    ax.spines[:].set_visible(False)
    ax.tick_params(left=False, bottom=False, labelbottom=False, pad=10)
    ax.set(ylim=(-0.5, 1.8))
    ax.set_yticks([0, 1], ["low", "high"])
    ax.text(0, 1.0, "at risk", transform=ax.transAxes, fontsize=8, va="top")
    for value, members in enumerate(groups):
        for tick in ticks:
            ax.text(tick, value, str(int((members.months >= tick).sum())), ha="center", va="center", fontsize=8,
                    color=CLASSES[value])  # fmt: skip
