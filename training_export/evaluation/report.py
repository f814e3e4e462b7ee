"""Writes the report in the form that the file's ending names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egfr_dls.atomic_file import SHARED, write_atomically
from training_export.evaluation.plots import Drawn
from training_export.evaluation.report_content import sections
from training_export.evaluation.report_html import report_html
from training_export.evaluation.report_pdf import report_pdf


def write_report(document: Mapping[str, Any], figures: tuple[Drawn, ...], path: Path) -> None:
    """Write a ``.pdf`` or an ``.html`` file."""
    content = sections(document, figures)
    encoded = report_pdf(content) if path.suffix.lower() == ".pdf" else report_html(content).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, encoded, SHARED)
