"""Draw a page: text column, pictures with outlines, banner and footer, as RGB pixels that depend on nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from egfr_dls.findings import RESEARCH_USE
from reporting import wording
from reporting.page_content import Line, Page, Panel, ScoreBar, Tone
from reporting.page_marks import Block, Disc, Mark, Words, across, down
from reporting.page_picture import BOX_COLOUR, Picture
from reporting.page_text import printable, wrapped

WIDTH, HEIGHT = 1024, 768
MARGIN = 24
HEADER_HEIGHT, FOOTER_HEIGHT, BANNER_HEIGHT = 56, 34, 40
TEXT_WIDTH = 470  # beside two pictures; beside four: SLICE_TEXT_WIDTH
SLICE_TEXT_WIDTH = 290
BAR_HEIGHT = 48
LINE_SPACING, PARAGRAPH_GAP = 1.25, 8
SCALES = (1.3, 1.15, 1.0, 0.92, 0.84, 0.8, 0.76)  # of the sizes: the largest with which the column fits
CUT = "More stands in the structured report."

BACKGROUND, TEXT, MUTED, CAUTION = "#0d1117", "#f0f3f6", "#a9b3bd", "#ffc857"
BANNER_BACKGROUND = "#a3195b"
STYLES: dict[Tone, tuple[float, str, bool]] = {  # size in pixels, colour, bold
    Tone.SCORE: (56, TEXT, True),
    Tone.TITLE: (24, TEXT, True),
    Tone.STRONG: (20, TEXT, True),
    Tone.BODY: (17, TEXT, False),
    Tone.SMALL: (14, MUTED, False),
    Tone.CAUTION: (15, CAUTION, False),
}


def draw(page: Page) -> NDArray[np.uint8]:
    """Return the page as uint8 ``[768, 1024, 3]``."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    for mark in marks(page):
        mark.draw(sheet)
    return np.asarray(sheet)


def marks(page: Page) -> Iterator[Mark]:
    """Yield all that is drawn on a page, what lies above last."""
    top = HEADER_HEIGHT if page.banner is None else HEADER_HEIGHT + BANNER_HEIGHT + 10
    text_width = _text_width(page)
    yield from _header(page)
    yield from _column(page.column, top, text_width)
    yield from _pictures(page.panels, MARGIN * 2 + text_width, top)
    yield Words(MARGIN, HEIGHT - FOOTER_HEIGHT / 2, printable(page.footer), 13, MUTED)


def _text_width(page: Page) -> float:
    if not page.panels:
        return WIDTH - 2 * MARGIN
    return SLICE_TEXT_WIDTH if len(page.panels) > 2 else TEXT_WIDTH


def _header(page: Page) -> Iterator[Mark]:
    """Yield heading, intended use and banner."""
    yield Words(MARGIN, HEADER_HEIGHT / 2, printable(page.heading), 24, TEXT, bold=True)
    yield Words(WIDTH - MARGIN, HEADER_HEIGHT / 2, RESEARCH_USE, 17, CAUTION, bold=True, align="r")
    if page.banner is not None:
        yield Block(0, HEADER_HEIGHT, WIDTH, HEADER_HEIGHT + BANNER_HEIGHT, BANNER_BACKGROUND)
        middle = HEADER_HEIGHT + BANNER_HEIGHT / 2
        yield Words(WIDTH / 2, middle, printable(page.banner), 24, "#ffffff", bold=True, align="m")


# -- text


def _column(column: Iterable[Line | ScoreBar], top: float, width: float) -> Iterator[Mark]:
    """Yield the text column, as large as it fits; what does not fit in the smallest size is said to be in the report."""
    bottom = HEIGHT - FOOTER_HEIGHT - MARGIN / 2
    items = list(column)
    for scale in SCALES:
        heights = [_height(item, width, scale) for item in items]
        if top + sum(heights) <= bottom:
            break
    else:
        note = Line(CUT, Tone.CAUTION)
        kept = _fitting(heights, bottom - top - _height(note, width, scale))
        items, heights = [*items[:kept], note], [*heights[:kept], 0.0]
    y = top
    for item, height in zip(items, heights, strict=True):
        yield from _paragraph(item, y, width, scale) if isinstance(item, Line) else _score_bar(item, y, width)
        y += height


def _fitting(heights: list[float], room: float) -> int:
    """Return how many of the items fit one below the other."""
    return int(np.searchsorted(np.cumsum(heights), room, side="right"))


def _height(item: Line | ScoreBar, width: float, scale: float) -> float:
    if isinstance(item, ScoreBar):
        return BAR_HEIGHT
    size, _, bold = STYLES[item.tone]
    lines = wrapped(item.text, size * scale, width, bold=bold)
    return len(lines) * size * scale * LINE_SPACING + PARAGRAPH_GAP * scale


def _paragraph(item: Line, y: float, width: float, scale: float) -> Iterator[Mark]:
    size, colour, bold = STYLES[item.tone]
    step = size * scale * LINE_SPACING
    for number, line in enumerate(wrapped(item.text, size * scale, width, bold=bold)):
        yield Words(MARGIN, y + step * (number + 0.5), line, size * scale, colour, bold)


def _score_bar(bar: ScoreBar, y: float, width: float) -> Iterator[Mark]:
    """Yield the axis 0 to 1, the slice scores as strokes, the mean as a disc and the cut-off."""
    left, length, line_y = MARGIN + 10, width - 20, y + 10
    yield across(left, left + length, line_y, 3, MUTED)
    for score in bar.scores:
        yield down(left + score * length, line_y - 7, line_y + 7, 2, BOX_COLOUR)
    cut_x = left + bar.cut_off * length
    yield down(cut_x, line_y - 10, line_y + 10, 3, CAUTION)
    yield Disc(left + bar.mean * length, line_y, 12, TEXT)
    for x, label in ((left, "0"), (left + length, "1"), (cut_x, f"cut-off {wording.cut_off_text(bar.cut_off)}")):
        yield Words(x, line_y + 19, label, 12, MUTED, align="m")


# -- pictures


def _pictures(panels: tuple[Panel, ...], left: float, top: float) -> Iterator[Mark]:
    if not panels:
        return
    rows, columns = (2, 1) if len(panels) <= 2 else (2, 2)
    caption, gap = 20, 8
    cell_width = (WIDTH - MARGIN - left - gap * (columns - 1)) / columns
    cell_height = (HEIGHT - FOOTER_HEIGHT - top) / rows
    side = min(cell_width, cell_height - caption - gap)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        x = left + column * (cell_width + gap) + (cell_width - side) / 2
        y = top + row * cell_height
        yield from Picture.of(panel, x, y, side).marks()
        yield Words(x + side / 2, y + side + caption / 2, printable(panel.caption), 13, TEXT, align="m")
