"""Writes a manifest's card as Markdown (``card.md``). Nothing stands in it that the manifest does not hold."""

from __future__ import annotations

from collections.abc import Iterable

from inference.models.card import Card, Estimate, Evaluation, MetricName
from inference.models.manifest import Manifest

CARD_NAME = "card.md"
UNKNOWN = "unknown"
METRICS: tuple[MetricName, ...] = ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")
STATUS = {
    "demonstration": "a demonstration of the software; says nothing about patients",
    "research": "research use only; not validated at this site",
    "site-validated": "validated by the site that states so; research use only",
}


def card_text(manifest: Manifest) -> str:
    """Return the card of a network; what was not stated is called unknown."""
    card = manifest.card or Card()
    data = card.training_data
    parts = [
        f"# {manifest.name} {manifest.version}",
        _list(
            ("task", f"{manifest.task}: {', '.join(manifest.labels)}"),
            ("status", f"{manifest.status} ({STATUS[manifest.status]})"),
            ("licence", manifest.licence),
            ("origin", ", ".join(f"{key} {value}" for key, value in (manifest.source or {}).items())),
            ("contact", card.contact),
            ("citation", card.citation),
        ),
        "## Intended use",
        card.intended_use or UNKNOWN,
        "## Limits",
        _list(*(("", limit) for limit in card.limits)) if card.limits else UNKNOWN,
        "## Training data",
        manifest.trained_on,
        _list(
            ("description", data.description),
            ("patients", None if data.patients is None else str(data.patients)),
            ("centres", data.centres),
            ("period", data.period),
            ("truth", data.labels),
        ),
        "## Performance",
        manifest.performance,
        *(_evaluation(evaluation) for evaluation in card.evaluations),
        "## Input",
        _input(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def _list(*lines: tuple[str, str | None]) -> str:
    return "\n".join(f"* {name}: {text or UNKNOWN}" if name else f"* {text}" for name, text in lines)


def _evaluation(found: Evaluation) -> str:
    patients = UNKNOWN if found.patients is None else str(found.patients)
    positives = UNKNOWN if found.positives is None else str(found.positives)
    head = [
        f"Cohort {found.cohort}: {patients} patients, {positives} positive; cut-off {_or_unknown(found.cut_off)}, aggregation "
        f"{_or_unknown(found.aggregation)}. Measured by egfr-dls evaluate {found.product_version or UNKNOWN}, document sha256 "
        f"{found.sha256}.",
        "",
        "| figure | value | 95 % interval |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *_rows(found)])


def _rows(found: Evaluation) -> Iterable[str]:
    for name in METRICS:
        if (estimate := found.metrics.get(name)) is None:
            yield f"| {name} | {UNKNOWN} | {UNKNOWN} |"
        else:
            yield f"| {name} | {_value(estimate)} | {_interval(estimate)} |"


def _value(estimate: Estimate) -> str:
    return "not estimable" if estimate.value is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    return UNKNOWN if estimate.ci95 is None else "{:.3f} to {:.3f}".format(*estimate.ci95)


def _or_unknown(value: object) -> str:
    return UNKNOWN if value is None else str(value)


def _input(manifest: Manifest) -> str:
    recipe = manifest.preprocessing
    made = f"made by the recipe {recipe.id}" if recipe else "made by no recipe of egfr-dls, so no biomarker takes it"
    shape = " x ".join(map(str, manifest.input.shape))
    return f"{' + '.join(manifest.input.names)} of {shape}, {made}."
