"""The report says what the document says, and what it cannot say."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training_export.evaluation_tables import Truth, simulated, write_tables
from training_export.evaluation.evaluate import Evaluation, Request, evaluate
from training_export.evaluation.plots import drawn
from training_export.evaluation.report_content import LIMITS, sections
from training_export.evaluation.report_html import report_html
from training_export.evaluation.report_parts import Grid, Paragraph, Section, p_text, with_interval
from training_export.evaluation.report_pdf import report_pdf


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """A made-up cohort with everything."""
    tables = simulated(tmp_path_factory.mktemp("cohort"), Truth(n=90))
    raters = (tables.slices, tables.slices)
    return evaluate(Request(tables.slices, tables.patients, compare=tables.slices, raters=raters, strata="histology"))


class Balance(HTMLParser):
    """Keeps the elements that are open; whatever closes must be the last that opened."""

    VOID = ("meta", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_and_holds_the_figures(evaluation: Evaluation) -> None:
    text = report_html(sections(evaluation.document, drawn(evaluation)))
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    entry = evaluation.document["binary"]["site"]
    low, high = entry["auc_ci95_delong"]
    assert f"{entry['auc']:.2f} ({low:.2f} to {high:.2f})" in text
    assert "Research use only, not for diagnosis." in text
    assert all(limit in text for limit in LIMITS)
    assert evaluation.document["settings"]["input_sha256"]["slices"] in text
    for title in (
        "What was read",
        "Another model",
        "Repeated regions",
        "Groups by histology",
        "TKI against ICI",
        "PD-L1",
    ):
        assert f"<h2>{title}" in text


def test_every_reason_stands_in_the_report(evaluation: Evaluation) -> None:
    found = sections(evaluation.document, drawn(evaluation))
    (section,) = [s for s in found if s.title == "Not estimable"]
    (grid,) = section.parts
    assert isinstance(grid, Grid)
    assert len(grid.rows) == len(evaluation.document["not_estimable"]) > 0


def test_families_without_data_have_no_section(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, {"label": [1, 0, 1, 0]}, {"egfr": [[0.8], [0.3], [0.6], [0.1]]})
    found = evaluate(Request(tables.slices, tables.patients))
    titles = [section.title for section in sections(found.document, drawn(found))]
    assert titles[3] == "Cohort all"
    assert not [t for t in titles if t.startswith(("Another", "Repeated", "Groups", "TKI", "PD-L1"))]


def test_nothing_to_evaluate_is_said(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, {"sex": ["f", "m"]}, {"egfr": [[0.8], [0.3]]})
    found = evaluate(Request(tables.slices, tables.patients))
    text = report_html(sections(found.document, drawn(found)))
    assert "nothing could be evaluated" in text


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext (poppler-utils) is not installed")
def test_pdf_holds_what_the_html_holds(evaluation: Evaluation, tmp_path: Path) -> None:
    """Every cell of every table, in reading order broken by lines only."""
    content = sections(evaluation.document, drawn(evaluation))
    path = tmp_path / "report.pdf"
    path.write_bytes(report_pdf(content))
    text = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True).stdout
    words = set(re.findall(r"\S+", text))
    for section in content:
        for part in section.parts:
            cells = [part.text] if isinstance(part, Paragraph) else []
            if isinstance(part, Grid):
                cells = [cell for row in (part.head, *part.rows) for cell in row]
            missing = {word for cell in cells for word in cell.split() if word not in words and len(word) < 20}
            assert not missing, (section.title, missing)


def test_long_tables_and_words_stay_on_the_page() -> None:
    """A hundred rows go over pages, a word without a break is cut; nothing is written outside."""
    rows = tuple((f"group {i}", "x" * 200, *["0.81 (0.74 to 0.88)"] * 8) for i in range(100))
    data = report_pdf([Section("T", (Grid(("Name", *["column"] * 9), rows),))])
    assert data.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", data)) > 3


def test_plots_are_pictures(evaluation: Evaluation) -> None:
    for figure in drawn(evaluation):
        pixels = np.asarray(Image.open(io.BytesIO(figure.encoded("png"))).convert("L"))
        assert 0.01 < (pixels < 200).mean() < 0.5, figure.name


def test_plots_of_sparse_data_are_drawn(tmp_path: Path) -> None:
    """One class, one group, one patient at a time: no plot, or a plot that says less, but no crash."""
    columns = {
        "cohort": ["a", "b", "b", "c", "c"],
        "label": [1, 1, 0, 0, ""],
        "pfs_months": [0, 3, 4, 5, 6],
        "progression": [1, 0, 0, 1, 1],
    }
    tables = write_tables(tmp_path, columns, {"egfr": [[0.8], [0.5], [0.5], [0.2], [0.9]]})
    found = evaluate(Request(tables.slices, tables.patients))
    figures = drawn(found)
    assert {(f.kind, f.cohort) for f in figures if f.kind == "roc"} == {("roc", "b")}
    assert len(report_pdf(sections(found.document, figures))) > 1000
    assert report_html(sections(found.document, figures))


@pytest.mark.parametrize(
    ("value", "interval", "printed"),
    [
        (0.8149, (0.7, 0.9), "0.81 (0.70 to 0.90)"),
        (None, None, "not estimable"),
        (0.5, None, "0.50 (interval not estimable)"),
        (15.0, (11.63, None), "15.00 (11.63 to –)"),
    ],
)
def test_how_numbers_are_printed(value: float | None, interval: tuple[float, float] | None, printed: str) -> None:
    assert with_interval(value, interval) == printed


def test_how_p_is_printed() -> None:
    assert [p_text(p) for p in (0.04999, 0.00099, None)] == ["0.050", "< 0.001", "not estimable"]
