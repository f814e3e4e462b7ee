"""The report's tables of follow-up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training_export.evaluation.report_parts import Grid, Paragraph, Part, number, p_text, with_interval

SURVIVAL_HEAD = ("high", "low", "median PFS high, months", "median PFS low", "hazard ratio", "log-rank p")
OUTCOMES = (
    ("dcb", "durable benefit: PFS 6 months or more"),
    ("hyperprogression", "follow-up below 2 months"),
    ("hyperprogression_event", "progression below 2 months"),
    ("progression", "progression"),
    ("pfs_12m", "PFS 12 months or more"),
    ("response", "response (CR or PR)"),
)
CELLS = (
    ("egfr_high", "EGFR-DLS high"),
    ("egfr_low", "EGFR-DLS low"),
    ("egfr_high_pdl1_high", "EGFR-DLS high, PDL1_DLS high"),
    ("egfr_high_pdl1_low", "EGFR-DLS high, PDL1_DLS low"),
    ("egfr_low_pdl1_high", "EGFR-DLS low, PDL1_DLS high"),
    ("egfr_low_pdl1_low", "EGFR-DLS low, PDL1_DLS low"),
)
POPULATIONS = (("all", "All histologies"), ("adenocarcinoma", "Adenocarcinoma only"))


def survival_cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells under ``SURVIVAL_HEAD`` of one ``survival`` entry."""
    hazard = entry["cox"]["efron"]
    groups = (str(entry["n_high"]), str(entry["n_low"]))
    medians = tuple(_median(entry[f"km_median_{name}"], entry[f"km_median_{name}_ci95"]) for name in ("high", "low"))
    return (*groups, *medians, with_interval(hazard["hr"], hazard["ci95"]), p_text(entry["logrank_p"]))


def outcome_parts(document: Mapping[str, Any], cohort: str) -> Iterator[Part]:
    """Yield what stands about a cohort's follow-up beside its plot."""
    survival = document["survival"][cohort]
    yield Grid(("", "high score", "low score"), tuple(_group_rows(survival)))
    rows = tuple(
        (f"hazard ratio, ties by {ties.capitalize()}", with_interval(e["hr"], e["ci95"]), p_text(e["p"]))
        for ties, e in survival["cox"].items()
    )
    ratio = number(survival["observed_over_expected"])
    rows += (("observed / expected events, high / low", ratio, f"{p_text(survival['logrank_p'])} (log-rank)"),)
    yield Grid(("High against low", "value (95 % interval)", "p"), rows)
    yield from _proportions(document["proportions"][cohort])


def pathway_parts(document: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the cells of the guideline, where there are any."""
    for key, population in POPULATIONS:
        cells = document["pathway_cells"].get(key, {})
        rows = tuple(_cell_row(name, cells[cell]) for cell, name in CELLS if cell in cells)
        if rows:
            head = (
                "Scores", "TKI", "ICI", "median PFS TKI, months", "median PFS ICI", "hazard ratio TKI / ICI", "log-rank p",
                "DCB % TKI", "DCB % ICI", "p (Fisher)",
            )  # fmt: skip
            yield Grid(head, rows, population)
    if document["pathway_cells"]:
        yield Paragraph(
            "Patients of all cohorts together, by the treatment that they had; they were not randomised, so a difference may "
            "be one of patients, places or times, and no effect of treatment.",
            caution=True,
        )


def _group_rows(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield ("patients", *(str(entry[f"n_{g}"]) for g in ("high", "low")))
    yield ("events", *(str(entry[f"events_{g}"]) for g in ("high", "low")))
    yield (
        "Kaplan-Meier median, months",
        *(_median(entry[f"km_median_{g}"], entry[f"km_median_{g}_ci95"]) for g in ("high", "low")),
    )
    yield (
        "plain median of follow-up, months",
        *(number((entry[f"plain_quartiles_{g}"] or (None, None))[1], 1) for g in ("high", "low")),
    )
    for month, found in entry["survival_at_months"].items():
        yield (f"free of progression at {month} months, %", *(_at_month(found[g]) for g in ("high", "low")))


def _at_month(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return number(None)
    bounds = [None if bound is None else 100 * bound for bound in found["ci95"]]
    return f"{with_interval(100 * found['survival'], bounds, 1)}, {found['at_risk']} at risk"


def _median(value: float | None, interval: list[float | None] | None) -> str:
    return "not reached" if value is None else with_interval(value, interval, 1)


def _proportions(entry: Mapping[str, Any]) -> Iterator[Part]:
    rows = tuple(
        (name, *(_counted(entry[key][group]) for group in ("all", "high", "low")), p_text(entry[key]["fisher_p"]))
        for key, name in OUTCOMES
        if key in entry
    )
    yield Grid(("Outcome, %", "all", "high score", "low score", "p (Fisher)"), rows)
    dcb, early, year = (entry[key]["all"]["censored_before"] for key in ("dcb", "hyperprogression", "pfs_12m"))
    yield Paragraph(
        f"Left follow-up without progression before 2, 6 and 12 months: {early}, {dcb} and {year} patients. What became of "
        "them by then is not known: these shares count them as if they had progressed (progression below 2 months does not). "
        "The Kaplan-Meier figures above count them for as long as they were followed."
    )


def _counted(entry: Mapping[str, Any]) -> str:
    if entry["pct"] is None:
        return "nobody"
    return f"{entry['k']} of {entry['n']}: {with_interval(entry['pct'], entry['pct_ci95_wilson'], 1)}"


def _cell_row(name: str, cell: Mapping[str, Any]) -> tuple[str, ...]:
    given = (cell["tki"], cell["ici"])
    if not any(treated["n"] for treated in given):
        return (name, "0", "0", *("",) * 7)
    hazard = cell["cox"]["efron"]
    return (
        name,
        *(str(treated["n"]) for treated in given),
        *("–" if not treated["n"] else _median(treated["km_median"], None).split(" (")[0] for treated in given),
        with_interval(hazard["hr"], hazard["ci95"]),
        p_text(cell["logrank_p"]),
        *("–" if treated["dcb"]["pct"] is None else f"{treated['dcb']['pct']:.1f}" for treated in given),
        p_text(cell["fisher_p"]["dcb"]),
    )
