"""The report's tables that set models, raters or groups of patients side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training_export.evaluation.report_accuracy import ACCURACY_HEAD, accuracy_cells
from training_export.evaluation.report_outcomes import SURVIVAL_HEAD, survival_cells
from training_export.evaluation.report_parts import Grid, Paragraph, Part, number, p_text, with_interval

COMPARED_HEAD = (
    "Patients", "n", "AUC", "AUC, other", "difference", "p (DeLong)", "right by one alone", "p (McNemar)",
)  # fmt: skip


def summary_parts(families: Mapping[str, Any]) -> Iterator[Part]:
    """Yield one row a cohort: what a reader looks for first."""
    accuracy = tuple((cohort, *accuracy_cells(entry)) for cohort, entry in families["binary"].items())
    if accuracy:
        yield Grid(("Cohort", *ACCURACY_HEAD), accuracy)
    followed = tuple((cohort, *survival_cells(entry)) for cohort, entry in families["survival"].items())
    if followed:
        yield Grid(("Cohort", *SURVIVAL_HEAD), followed)


def comparison_parts(pooled: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the comparison with another model, all cohorts together first."""
    if pooled:
        entries = {"all": pooled, **pooled.get("cohorts", {})}
        yield Grid(COMPARED_HEAD, tuple(_compared(name, entry) for name, entry in entries.items()))


def _compared(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    delong, mcnemar = entry["delong"], entry["mcnemar"]
    return (
        name,
        str(entry["n"]),
        number(delong["auc_first"], 3),
        number(delong["auc_second"], 3),
        with_interval(delong["difference"], delong["ci95"], 3),
        p_text(delong["p"]),
        f"{mcnemar['b']} / {mcnemar['c']}",
        p_text(mcnemar["p"]),
    )


def agreement_parts(entry: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the forms of the intraclass correlation."""
    if not entry:
        return
    forms = (entry[key] for key in ("icc", "icc_1_1", "icc_3_1"))
    rows = tuple((form["form"], with_interval(form["value"], form["ci95"], 3)) for form in forms)
    yield Grid(("Intraclass correlation", "value (95 % interval)"), rows)
    yield Paragraph(
        f"{entry['patients']} patients have a score by each of {entry['raters']} raters; {entry['patients_not_scored_by_all']} "
        "others by some. ICC(2,1), absolute agreement of single raters who stand for others like them, is the one to quote."
    )


def strata_parts(document: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the groups of each cohort."""
    for cohort in document["integrity"]:
        tests = document["strata_tests"].get(cohort, {})
        entries = {value: families["binary"].get(cohort) for value, families in document["strata"].items()}
        rows = tuple(
            (value, *accuracy_cells(entry), p_text(tests[value]["p"]))
            for value, entry in entries.items()
            if entry is not None
        )
        if rows:
            yield Grid(("Group", *ACCURACY_HEAD, "AUC against the others, p"), rows, f"Cohort {cohort}")
        entries = {value: families["survival"].get(cohort) for value, families in document["strata"].items()}
        rows = tuple((value, *survival_cells(entry)) for value, entry in entries.items() if entry is not None)
        if rows:
            yield Grid(("Group", *SURVIVAL_HEAD), rows, f"Cohort {cohort}, follow-up")
