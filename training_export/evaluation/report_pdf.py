"""The report as a PDF file of A4 pages, drawn by matplotlib: no other library, and its fonts are embedded."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from PIL import Image

from training_export.evaluation.plots import Drawn
from training_export.evaluation.report_parts import Grid, Paragraph, Part, Pictures, Section
from training_export.evaluation.style import STYLE

WIDTH_MM, HEIGHT_MM, MARGIN_MM = 210.0, 297.0, 16.0
MM_PER_INCH = 25.4
TEXT_SIZE, CELL_SIZE, TITLE_SIZE, HEADING_SIZE = 9.0, 7.0, 15.0, 11.5
LINE_MM = 0.3528 * 1.35  # of a point of the font's size
MM_PER_CHARACTER = 0.3528 * 0.58  # of a point: DejaVu Sans, a little wider than the mean
BOLD_IS_WIDER = 1.15
GAP_MM = 3.0
ROW_GAP_MM = 1.2
TOGETHER_MM = 90.0  # a table below this is not torn apart
PICTURE_MM = 86.0


class Pages:
    """Writes from top to bottom, and begins a page where the last is full."""

    def __init__(self, footer: str) -> None:
        self.figures: list[Figure] = []
        self._footer = footer
        self._left_mm = 0.0

    def room(self, needed_mm: float) -> None:
        """Begin a page where less than this is left."""
        if not self.figures or self._left_mm < needed_mm:
            page = Figure(figsize=(WIDTH_MM / MM_PER_INCH, HEIGHT_MM / MM_PER_INCH))
            self.figures.append(page)
            page.text(
                MARGIN_MM / WIDTH_MM,
                8 / HEIGHT_MM,
                f"{self._footer}   ·   page {len(self.figures)}",
                size=7,
                color="#57606a",
            )
            self._left_mm = HEIGHT_MM - 2 * MARGIN_MM

    def skip(self, mm: float) -> None:
        """Leave room."""
        self._left_mm -= mm

    def line(self, text: str, size: float, at_mm: float = 0.0, *, weight: str = "normal", color: str = "black") -> None:
        """Write one line at the present height, which stays."""
        x, y = (MARGIN_MM + at_mm) / WIDTH_MM, (MARGIN_MM + self._left_mm) / HEIGHT_MM
        self.figures[-1].text(x, y, text, size=size, va="top", weight=weight, color=color, parse_math=False)

    def rule(self) -> None:
        """Draw a line over the page's width at the present height."""
        y = (MARGIN_MM + self._left_mm + 0.6) / HEIGHT_MM
        x = (MARGIN_MM / WIDTH_MM, 1 - MARGIN_MM / WIDTH_MM)
        self.figures[-1].add_artist(mpl.lines.Line2D(x, (y, y), lw=0.4, color="#d0d7de"))

    def picture(self, drawn: Drawn, at_mm: float) -> None:
        """Place a picture with its upper left corner at the present height, which stays."""
        width, height = drawn.figure.get_size_inches()
        tall = PICTURE_MM * height / width
        box = (MARGIN_MM + at_mm, MARGIN_MM + self._left_mm - tall, PICTURE_MM, tall)
        ax = self.figures[-1].add_axes(tuple(np.array(box) / (WIDTH_MM, HEIGHT_MM, WIDTH_MM, HEIGHT_MM)))
        ax.axis("off")
        ax.imshow(Image.open(io.BytesIO(drawn.encoded("png"))), aspect="auto", interpolation="antialiased")


def report_pdf(sections: Sequence[Section]) -> bytes:
    """Return the report; the same document gives the same bytes."""
    with mpl.rc_context(STYLE):
        pages = Pages(f"{sections[0].title}. Research use only, not for diagnosis")
        for place, section in enumerate(sections):
            _heading(pages, section.title, TITLE_SIZE if place == 0 else HEADING_SIZE)
            for part in section.parts:
                _part(pages, part)
        buffer = io.BytesIO()
        with PdfPages(buffer, metadata={"Title": sections[0].title, "CreationDate": None}) as file:
            for page in pages.figures:
                file.savefig(page)
    return buffer.getvalue()


def _heading(pages: Pages, title: str, size: float) -> None:
    pages.room(size * LINE_MM + 30.0)  # with something under it
    pages.skip(GAP_MM)
    pages.line(title, size, weight="bold")
    pages.skip(size * LINE_MM + 1.0)


def _part(pages: Pages, part: Part) -> None:
    if isinstance(part, Paragraph):
        _paragraph(pages, part)
    elif isinstance(part, Grid):
        _grid(pages, part)
    else:
        _pictures(pages, part)


def _paragraph(pages: Pages, paragraph: Paragraph) -> None:
    width = int((WIDTH_MM - 2 * MARGIN_MM) / (TEXT_SIZE * MM_PER_CHARACTER))
    for text in textwrap.wrap(paragraph.text, width):
        pages.room(TEXT_SIZE * LINE_MM)
        pages.line(text, TEXT_SIZE, weight="bold" if paragraph.caution else "normal")
        pages.skip(TEXT_SIZE * LINE_MM)
    pages.skip(1.0)


def _grid(pages: Pages, grid: Grid) -> None:
    widths = _column_widths(grid)
    rows = [_wrapped(row, widths, bold=place == 0) for place, row in enumerate((grid.head, *grid.rows))]
    tall = [max(map(len, row)) * CELL_SIZE * LINE_MM + ROW_GAP_MM for row in rows]
    pages.room(min(sum(tall) + 2 * GAP_MM, TOGETHER_MM))
    pages.skip(GAP_MM / 2)
    if grid.caption:
        pages.line(grid.caption, TEXT_SIZE, weight="bold")
        pages.skip(TEXT_SIZE * LINE_MM)
    for place, (row, row_mm) in enumerate(zip(rows, tall, strict=True)):
        pages.room(row_mm)
        for lines, at_mm in zip(row, np.cumsum([0.0, *widths]), strict=False):
            pages.line("\n".join(lines), CELL_SIZE, float(at_mm), weight="bold" if place == 0 else "normal")
        pages.skip(row_mm)
        pages.rule()
    pages.skip(GAP_MM)


def _wrapped(row: Sequence[str], widths: Sequence[float], *, bold: bool) -> list[list[str]]:
    wider = BOLD_IS_WIDER if bold else 1.0
    return [textwrap.wrap(cell, _characters(width / wider)) or [""] for cell, width in zip(row, widths, strict=True)]


def _column_widths(grid: Grid) -> list[float]:
    """Return widths in mm: by the longest cell, narrowed to the page where they are too many."""
    columns = zip(grid.head, *grid.rows, strict=True)
    longest = [max(BOLD_IS_WIDER * len(head), *map(len, cells)) for head, *cells in columns]
    wanted = np.array([(n + 2) * CELL_SIZE * MM_PER_CHARACTER for n in longest])
    room = WIDTH_MM - 2 * MARGIN_MM
    while wanted.sum() > room + 1e-6:  # the widest give way first
        widest = wanted == wanted.max()
        second = wanted[~widest].max() if not widest.all() else 0.0
        excess = (wanted.sum() - room) / widest.sum()
        wanted[widest] -= min(excess, max(float(wanted.max() - second), 1e-3))
    return [float(width) for width in wanted]


def _characters(width_mm: float) -> int:
    return max(int(width_mm / (CELL_SIZE * MM_PER_CHARACTER)) - 1, 4)


def _pictures(pages: Pages, pictures: Pictures) -> None:
    sizes = [drawn.figure.get_size_inches() for drawn in pictures.figures]
    tall = max(PICTURE_MM * height / width for width, height in sizes)
    pages.room(tall)
    for place, drawn in enumerate(pictures.figures):
        pages.picture(drawn, place * (PICTURE_MM + 5.0))
    pages.skip(tall + GAP_MM)
