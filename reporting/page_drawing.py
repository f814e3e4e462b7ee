"""Draw a page: text column, pictures with outlines, banner and footer, as RGB pixels that depend on nothing else.

The Agg canvas and the DejaVu fonts that matplotlib ships; no pyplot and no global state. At 72 dpi a point is a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from egfr_dls.findings import RESEARCH_USE
from reporting import wording
from reporting.page_content import Line, Page, Panel, ScoreBar, Tone
from reporting.page_text import BOLD, DPI, REGULAR, printable, wrapped

WIDTH, HEIGHT = 1024, 768
MARGIN = 24
HEADER_HEIGHT, FOOTER_HEIGHT, BANNER_HEIGHT = 56, 34, 40
TEXT_WIDTH = 470  # beside two pictures; beside four: SLICE_TEXT_WIDTH
SLICE_TEXT_WIDTH = 290
BAR_HEIGHT = 48
LINE_SPACING, PARAGRAPH_GAP = 1.25, 8
SHRINK = (1.0, 0.92, 0.84, 0.76)  # of the sizes, until the column fits
CUT = "More stands in the structured report."

BACKGROUND, TEXT, MUTED, CAUTION = "#0d1117", "#f0f3f6", "#a9b3bd", "#ffc857"
BANNER_BACKGROUND = "#a3195b"
CT_OUTLINE, PET_OUTLINE, BOX_COLOUR = "#ffe14d", "#e0323c", "#4cc9f0"
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
    return rendered(figure(page))


def rendered(drawing: Figure) -> NDArray[np.uint8]:
    """Return a figure's pixels."""
    canvas = FigureCanvasAgg(drawing)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib types its figures, not yet this canvas
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]  # as above


def figure(page: Page) -> Figure:
    """Return the drawing; its only axes are the sheet, in pixels from the upper left."""
    drawing = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=BACKGROUND)
    sheet = drawing.add_axes((0, 0, 1, 1), frameon=False)
    sheet.set_xlim(0, WIDTH)
    sheet.set_ylim(HEIGHT, 0)
    sheet.set_axis_off()
    top = _header(sheet, page)
    text_width = _text_width(page)
    _column(sheet, page.column, top, text_width)
    _pictures(sheet, page.panels, MARGIN * 2 + text_width, top)
    _text(sheet, MARGIN, HEIGHT - FOOTER_HEIGHT / 2, page.footer, 13, MUTED)
    return drawing


def _text_width(page: Page) -> float:
    if not page.panels:
        return WIDTH - 2 * MARGIN
    return SLICE_TEXT_WIDTH if len(page.panels) > 2 else TEXT_WIDTH


def _header(sheet: Axes, page: Page) -> float:
    """Draw heading, intended use and banner; return where the column begins."""
    _text(sheet, MARGIN, HEADER_HEIGHT / 2, page.heading, 24, TEXT, bold=True)
    _text(sheet, WIDTH - MARGIN, HEADER_HEIGHT / 2, RESEARCH_USE, 17, CAUTION, bold=True, align="right")
    if page.banner is None:
        return HEADER_HEIGHT
    sheet.add_patch(Rectangle((0, HEADER_HEIGHT), WIDTH, BANNER_HEIGHT, color=BANNER_BACKGROUND))
    middle = HEADER_HEIGHT + BANNER_HEIGHT / 2
    _text(sheet, WIDTH / 2, middle, page.banner, 24, "#ffffff", bold=True, align="center")
    return HEADER_HEIGHT + BANNER_HEIGHT + 10


# -- text


def _text(
    sheet: Axes, x: float, y: float, text: str, size: float, colour: str, *, bold: bool = False, align: str = "left"
) -> None:
    sheet.text(
        x, y, printable(text), fontsize=size, color=colour, ha=align, va="center", parse_math=False,
        fontproperties=FontProperties(fname=BOLD if bold else REGULAR, size=size),
    )  # fmt: skip


def _column(sheet: Axes, column: Iterable[Line | ScoreBar], top: float, width: float) -> None:
    """Draw the text column, smaller where it is long; what still does not fit is said to be in the report."""
    bottom = HEIGHT - FOOTER_HEIGHT - MARGIN / 2
    items = list(column)
    for scale in SHRINK:
        heights = [_height(item, width, scale) for item in items]
        if top + sum(heights) <= bottom:
            break
    else:
        note = Line(CUT, Tone.CAUTION)
        kept = _fitting(heights, bottom - top - _height(note, width, scale))
        items, heights = [*items[:kept], note], [*heights[:kept], 0.0]
    y = top
    for item, height in zip(items, heights, strict=True):
        if isinstance(item, Line):
            _paragraph(sheet, item, y, width, scale)
        else:
            _score_bar(sheet, item, y, width)
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


def _paragraph(sheet: Axes, item: Line, y: float, width: float, scale: float) -> None:
    size, colour, bold = STYLES[item.tone]
    step = size * scale * LINE_SPACING
    for number, line in enumerate(wrapped(item.text, size * scale, width, bold=bold)):
        _text(sheet, MARGIN, y + step * (number + 0.5), line, size * scale, colour, bold=bold)


def _score_bar(sheet: Axes, bar: ScoreBar, y: float, width: float) -> None:
    """Draw the axis 0 to 1, the slice scores as strokes, the mean as a disc and the cut-off."""
    left, length, line_y = MARGIN + 10, width - 20, y + 10
    sheet.plot([left, left + length], [line_y, line_y], color=MUTED, linewidth=3, solid_capstyle="round")
    for score in bar.scores:
        x = left + score * length
        sheet.plot([x, x], [line_y - 7, line_y + 7], color=BOX_COLOUR, linewidth=1.5)
    cut_x = left + bar.cut_off * length
    sheet.plot([cut_x, cut_x], [line_y - 10, line_y + 10], color=CAUTION, linewidth=2.5)
    sheet.plot([left + bar.mean * length], [line_y], marker="o", markersize=11, color=TEXT)
    for x, label in ((left, "0"), (left + length, "1"), (cut_x, f"cut-off {wording.cut_off_text(bar.cut_off)}")):
        _text(sheet, x, line_y + 19, label, 12, MUTED, align="center")


# -- pictures


def _pictures(sheet: Axes, panels: tuple[Panel, ...], left: float, top: float) -> None:
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
        _picture(sheet, panel, x, y, side)
        _text(sheet, x + side / 2, y + side + caption / 2, panel.caption, 13, TEXT, align="center")


def _picture(sheet: Axes, panel: Panel, x: float, y: float, side: float) -> None:
    """Draw a slice into a square cell, in millimetres, square pixels or not, with outline, square, ruler and edges.

    It is drawn on the sheet itself: axes of its own, with their ticks, cost as much as all its pixels.
    """
    rows, columns = panel.grey.shape
    scale = side / max(rows * panel.pixel_mm[0], columns * panel.pixel_mm[1])  # of the page, pixels per mm
    row_step, column_step = panel.pixel_mm[0] * scale, panel.pixel_mm[1] * scale
    height, width = rows * row_step, columns * column_step
    left, upper = x + (side - width) / 2, y + (side - height) / 2
    placed: dict[str, Any] = {"extent": (left, left + width, upper + height, upper), "aspect": "auto"}
    sheet.imshow(panel.grey, cmap="gray", vmin=0, vmax=1, interpolation="bilinear", **placed)
    if panel.overlay is not None:
        alpha = np.clip(panel.overlay * 0.75, 0, 1)
        sheet.imshow(panel.overlay, cmap="inferno", vmin=0, vmax=1, interpolation="nearest", alpha=alpha, **placed)
    outline = PET_OUTLINE if panel.caption.startswith("PET") else CT_OUTLINE
    if panel.outline.any() and not panel.outline.all():
        across = left + (np.arange(columns) + 0.5) * column_step
        down = upper + (np.arange(rows) + 0.5) * row_step
        sheet.contour(across, down, panel.outline.astype(float), levels=[0.5], colors=[outline], linewidths=1.8)
    row0, column0, row1, column1 = panel.box
    sheet.add_patch(
        Rectangle(
            (left + column0 * column_step, upper + row0 * row_step),
            (column1 - column0) * column_step,
            (row1 - row0) * row_step,
            fill=False, edgecolor=BOX_COLOUR, linestyle=(0, (5, 4)), linewidth=1.4,
        )
    )  # fmt: skip
    _marks(sheet, panel, (left, upper, width, height), scale)


def _marks(sheet: Axes, panel: Panel, picture: tuple[float, float, float, float], scale: float) -> None:
    """Draw ruler and edge letters into a picture: left, upper, width, height in pixels; scale in pixels per mm."""
    left, upper, width, height = picture
    ruler_mm = 10.0 if width < 80 * scale else 20.0
    x, y = left + 0.05 * width, upper + 0.95 * height
    dark = panel.caption.startswith("PET")
    colour = "#1b1f24" if dark else "#ffffff"
    sheet.plot([x, x + ruler_mm * scale], [y, y], color=colour, linewidth=3)
    _text(sheet, x + ruler_mm * scale / 2, y - 0.04 * height, f"{ruler_mm:.0f} mm", 12, colour, align="center")
    at_left, at_top = panel.edges
    _text(sheet, left + 0.02 * width, upper + 0.5 * height, at_left, 14, colour, bold=True)
    _text(sheet, left + 0.5 * width, upper + 0.04 * height, at_top, 14, colour, bold=True, align="center")
