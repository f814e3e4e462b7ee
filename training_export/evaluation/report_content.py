"""The report, from the document alone: no number stands in a report that is not in the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from egfr_dls.findings import RESEARCH_USE
from training_export.evaluation.plots import Drawn
from training_export.evaluation.report_accuracy import accuracy_parts, association_parts, calibration_grid
from training_export.evaluation.report_groups import agreement_parts, comparison_parts, strata_parts, summary_parts
from training_export.evaluation.report_outcomes import outcome_parts, pathway_parts
from training_export.evaluation.report_parts import Grid, Paragraph, Part, Pictures, Section

TITLE = "Evaluation of EGFR-DLS scores"
NOTHING = "No patient has both a score and a label, or a score and a follow-up: nothing could be evaluated."
LIMITS = (
    "Figures describe these patients. Another scanner, protocol or share of mutants changes them.",
    "Intervals cover 95 % of repetitions. They speak of chance alone, not of how patients were chosen, labelled or drawn.",
    "No p-value is corrected for the number of questions asked: of twenty that mean nothing, one is below 0.05.",
    "Predictive values hold for the share of mutants in these patients only.",
    "A cut-off or a rule of aggregation that was chosen after a look at these patients makes every figure too good.",
    "Treatment was not randomised: a difference of outcome by score or treatment is an association.",
)
DEFINITIONS = (
    "A patient's score is made of the slices by the rule named below; at or above the cut-off it is high.",
    "AUC: share of positive and negative pairs in the right order, ties counting half; interval by DeLong (1988).",
    "Proportions have Wilson's interval (1927), hazard ratios Wald's, medians Brookmeyer and Crowley's (1982).",
    "Hazard ratios are of high against low scores by Cox's model, Efron's way with ties unless another is named.",
    "Kaplan-Meier median: the first time at which half have progressed. A plain median ignores that some were censored.",
)
INTEGRITY = (
    ("patients", "patients with a score"),
    ("slices", "slices"),
    ("slices_per_patient_median", "slices a patient, median"),
    ("patients_without_score", "patients without a score"),
    ("patients_without_label", "patients without a label"),
    ("follow_up_incomplete", "patients with a time or an end of follow-up, not both"),
    ("scores_exactly_at_cut_off", "scores exactly at the cut-off"),
    ("unmatched", "slices of patients that nobody knows (of all cohorts)"),
)


def sections(document: Mapping[str, Any], figures: tuple[Drawn, ...]) -> tuple[Section, ...]:
    """Return the whole report."""
    summary = tuple(summary_parts(document)) or (Paragraph(NOTHING, caution=True),)
    found = [
        Section(TITLE, (Paragraph(RESEARCH_USE, caution=True), *summary)),
        Section("What these figures cannot say", tuple(Paragraph(text) for text in LIMITS)),
        Section("What was read", (_integrity(document["integrity"]),)),
        *(Section(f"Cohort {cohort}", tuple(_cohort(document, cohort, figures))) for cohort in document["integrity"]),
        Section("Another model on the same patients", tuple(comparison_parts(document["comparison"]))),
        Section("Repeated regions of interest", tuple(agreement_parts(document["agreement"]))),
        Section(f"Groups by {document['settings']['strata']}", tuple(strata_parts(document))),
        Section("TKI against ICI by score", tuple(pathway_parts(document))),
        Section("PD-L1 scores", tuple(summary_parts(document["pdl1"]))),
        Section("Not estimable", tuple(_noted(document["not_estimable"], "reason"))),
        Section("Remarks", tuple(_noted(document["remarks"], "remark"))),
        Section("How it was computed", (*(Paragraph(text) for text in DEFINITIONS), _settings(document["settings"]))),
    ]
    return tuple(section for section in found if section.parts)


def _cohort(document: Mapping[str, Any], cohort: str, figures: tuple[Drawn, ...]) -> Iterator[Part]:
    of_cohort = {figure.kind: figure for figure in figures if figure.cohort == cohort}
    if cohort in document["binary"]:
        yield Pictures(tuple(of_cohort[kind] for kind in ("roc", "distributions") if kind in of_cohort))
        yield from accuracy_parts(document, cohort)
        yield Pictures((of_cohort["calibration"],))
        yield calibration_grid(document["calibration"][cohort])
    if cohort in document["survival"]:
        yield Pictures((of_cohort["survival"],))
        yield from outcome_parts(document, cohort)
    yield from association_parts(document["associations"].get(cohort, {}))


def _integrity(entries: Mapping[str, Any]) -> Grid:
    rows = tuple(
        (name, *("–" if entry[key] is None else f"{entry[key]:g}" for entry in entries.values()))
        for key, name in INTEGRITY
    )
    return Grid(("", *entries), rows)


def _noted(entries: list[dict[str, str]], key: str) -> Iterator[Part]:
    if entries:
        yield Grid(("Figure", key), tuple((entry["figure"], entry[key]) for entry in entries))


def _settings(settings: Mapping[str, Any]) -> Grid:
    rows = [
        ("rule of aggregation", settings["aggregation"]),
        ("cut-off", f"{settings['cut_off']:g}"),
        ("days a month", f"{settings['days_per_month']:g}"),
        ("product", f"egfr-dls {settings['product_version']}"),
    ]
    for name, digests in settings["input_sha256"].items():
        rows += [(f"SHA-256 of {name}", digest) for digest in ([digests] if isinstance(digests, str) else digests)]
    return Grid(("Setting", "value"), tuple(rows))
