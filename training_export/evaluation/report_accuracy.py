"""The report's tables of a score against a label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training_export.evaluation.report_parts import (
    NOT_ESTIMABLE,
    Grid,
    Paragraph,
    Part,
    number,
    p_text,
    with_interval,
)

ACCURACY_HEAD = ("patients", "positive", "AUC", "sensitivity %", "specificity %")
SCORES_HEAD = ("Scores", "n", "1st quartile", "median", "3rd quartile")
SHARES = (
    ("accuracy", "accuracy"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("ppv", "positive predictive value"),
    ("npv", "negative predictive value"),
)
CHOICES = (
    ("youden", "largest sensitivity + specificity"),
    ("sensitivity_90", "highest with sensitivity 90 % or more"),
    ("specificity_90", "lowest with specificity 90 % or more"),
)


def accuracy_cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells under ``ACCURACY_HEAD`` of one ``binary`` entry."""
    area = with_interval(entry["auc"], entry["auc_ci95_delong"])
    return (str(entry["n"]), str(entry["positives"]), area, _share(entry, "sensitivity"), _share(entry, "specificity"))


def accuracy_parts(document: Mapping[str, Any], cohort: str) -> Iterator[Part]:
    """Yield what stands about a cohort's labels beside its plots."""
    entry, cut_off = document["binary"][cohort], document["settings"]["cut_off"]
    yield Grid(
        ("", "% (95 % interval)"),
        tuple((name, _share(entry, key)) for key, name in SHARES),
        f"At the cut-off of {cut_off:g}",
    )
    counts = (("score high", str(entry["tp"]), str(entry["fp"])), ("score low", str(entry["fn"]), str(entry["tn"])))
    yield Grid(("Patients", "positive", "negative"), counts)
    yield Grid(SCORES_HEAD, tuple(score_cells(name, entry[f"score_{name}"]) for name in ("positive", "negative")))
    yield Paragraph(f"Difference of the scores of the classes: p {p_text(entry['p_ranksum'])} (Mann-Whitney).")
    yield from _choices(document["thresholds"][cohort])
    yield _aggregation(document, cohort)


def calibration_grid(entry: Mapping[str, Any]) -> Grid:
    """Return the table of one ``calibration`` entry."""
    rows = (
        ("Brier score (0 is best)", number(entry["brier"], 3)),
        ("expected calibration error", number(entry["ece"], 3)),
        ("slope (1: the spread is right)", with_interval(entry["slope"], entry["slope_ci95"])),
        ("intercept at that slope", with_interval(entry["intercept"], entry["intercept_ci95"])),
        (
            "intercept at slope 1 (0: the level is right)",
            with_interval(entry["in_the_large"], entry["in_the_large_ci95"]),
        ),
    )
    return Grid(("Calibration", "value (95 % interval)"), rows)


def association_parts(entry: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the tables of one ``associations`` entry."""
    measured = tuple(
        (name, str(entry[name]["n"]), number(entry[name]["spearman_rho"]), p_text(entry[name]["p"]))
        for name in ("age", "suvmax")
        if name in entry
    )
    if measured:
        yield Grid(("Score and", "n", "Spearman's rho", "p"), measured)
    if "response" in entry:
        found = entry["response"]
        rows = (score_cells("responders", found["score_responders"]), score_cells("others", found["score_others"]))
        yield Grid(SCORES_HEAD, rows)
        yield Paragraph(f"Difference of responders and others: p {p_text(found['p_ranksum'])} (Mann-Whitney).")


def score_cells(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells under ``SCORES_HEAD`` of some patients."""
    return (name, str(entry["n"]), *(number(v, 3) for v in entry["q1_median_q3_linear"] or (None,) * 3))


def _share(entry: Mapping[str, Any], name: str) -> str:
    if entry[name] is None:
        return NOT_ESTIMABLE
    return with_interval(100 * entry[name], [100 * bound for bound in entry[f"{name}_ci95_wilson"]], 1)


def _choices(entry: Mapping[str, Any] | None) -> Iterator[Part]:
    if entry is None:
        return
    rows = tuple(
        (name, number(e["cut_off"], 3), number(100 * e["sensitivity"], 1), number(100 * e["specificity"], 1))
        for e, name in ((entry[key], name) for key, name in CHOICES)
        if e is not None
    )
    yield Grid(("Rule", "cut-off", "sensitivity %", "specificity %"), rows, "Cut-offs that these patients suggest")
    youden = entry["youden"]
    low, high = youden["cut_off_ci95_bootstrap"]
    yield Paragraph(
        "These rates are of the patients by whom the cut-offs were chosen, so they are too good. In resampled patients the "
        f"first choice falls between {low:.3f} and {high:.3f} (95 %), and sensitivity + specificity − 1, here "
        f"{youden['index']:.2f}, shrinks to {youden['index_corrected']:.2f}; new patients may show less still. "
        "Whether a new cut-off is right, only new patients show."
    )


def _aggregation(document: Mapping[str, Any], cohort: str) -> Grid:
    slices = document["slice_level"][cohort]
    named = [(f"patients, {name} of their slices", e) for name, e in document["aggregation"][cohort].items()]
    named.append((f"{slices['n']} slices, each by itself", slices))
    rows = tuple((name, number(e["auc"], 3), number(100 * e["accuracy"], 1)) for name, e in named)
    return Grid(("Score of", "AUC", "accuracy %"), rows, "Rules that make one score of the slices")
