"""What is stated of a network, from the files in which it is stated: a person's facts, and documents of ``evaluate``."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from egfr_dls.errors import UsageError
from inference.models.card import Estimate, Evaluation, Facts, MetricName
from inference.models.manifest import sentence

EVALUATE_SCHEMA = "egfr-dls-evaluate/1"
MAX_BYTES = 16 << 20
# Figure of the card -> key of its interval in the document (docs/reference/science.md).
INTERVALS: Mapping[MetricName, str] = {
    "auc": "auc_ci95_delong",
    "accuracy": "accuracy_ci95_wilson",
    "sensitivity": "sensitivity_ci95_wilson",
    "specificity": "specificity_ci95_wilson",
    "ppv": "ppv_ci95_wilson",
    "npv": "npv_ci95_wilson",
}


def read_facts(path: Path) -> Facts:
    """Read a TOML file of facts; raises UsageError that names each wrong key."""
    try:
        return Facts.model_validate(tomllib.loads(_content(path).decode()))
    except ValidationError as error:
        raise UsageError(f"{path}: {'; '.join(sentence(fault) for fault in error.errors()[:8])}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def read_evaluations(path: Path, task: str) -> tuple[Evaluation, ...]:
    """Read what a document of ``egfr-dls evaluate`` says of a network for ``task``, one evaluation a cohort.

    Raises
    ------
    UsageError
        it is no such document, or holds no labelled patients for this task
    """
    content = _content(path)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if found != EVALUATE_SCHEMA:
        raise UsageError(
            f"{path} has schema {str(found)[:80]}; needed: {EVALUATE_SCHEMA}, as egfr-dls evaluate writes it"
        )
    part = document if task == "egfr" else document.get(task)
    cohorts = part.get("binary") if isinstance(part, dict) else None
    if not isinstance(cohorts, dict) or not cohorts:
        raise UsageError(f"{path} holds no figures of labelled patients for task {task} (key binary)")
    settings, sha256 = document.get("settings", {}), hashlib.sha256(content).hexdigest()
    try:
        return tuple(_evaluation(cohort, entry, settings, sha256) for cohort, entry in cohorts.items())
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{path}: the figures of binary are not those of {EVALUATE_SCHEMA}: {str(error)[:300]}"
        ) from error


def _evaluation(cohort: str, entry: Mapping[str, Any], settings: Mapping[str, Any], sha256: str) -> Evaluation:
    aggregation = settings.get("aggregation")
    return Evaluation(
        cohort=cohort,
        patients=entry.get("n"),
        positives=entry.get("positives"),
        cut_off=settings.get("cut_off"),
        aggregation=None if aggregation is None else str(aggregation),
        metrics={
            name: Estimate(value=entry[name], ci95=_interval(entry.get(key)))
            for name, key in INTERVALS.items()
            if name in entry
        },
        product_version=settings.get("product_version"),
        sha256=sha256,
    )


def _interval(stated: Sequence[float] | None) -> tuple[float, float] | None:
    if stated is None or None in stated:
        return None
    low, high = stated
    return low, high


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} holds more than {MAX_BYTES >> 20} MB; needed: a document of facts")
    return content
