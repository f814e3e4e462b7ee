"""Slice scores over slice position as a small inline SVG, with a key that names each line's lesion."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import cycle

from egfr_dls.findings import LesionFinding, StudyFindings
from reporting import wording
from reporting.printed_scores import PrintedScores

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT, INSET = 640, 240, 56, 44, 14, 16, 24
CUT_OFF_COLOUR = "#d98e00"
COLOURS = ("#2f81f7", "#d9603b", "#2f9e63", "#a371f7", "#a88b1a", "#7d8590")


@dataclass(frozen=True)
class Axes:
    """Where a position (mm) and a score (0 to 1) lie in the picture."""

    low_mm: float
    high_mm: float

    def x(self, position_mm: float) -> float:
        """Return the abscissa of a slice; a single slice stands in the middle."""
        span = self.high_mm - self.low_mm
        share = (position_mm - self.low_mm) / span if span > 0 else 0.5
        return LEFT + INSET + share * (WIDTH - LEFT - RIGHT - 2 * INSET)

    def y(self, score: float) -> float:
        """Return the ordinate of a score."""
        return TOP + (1 - score) * (HEIGHT - TOP - BOTTOM)


def score_plot(findings: StudyFindings, scores: PrintedScores) -> str:
    """Return the plot with its axes in words and its key; empty where no slice has a score."""
    positions = [s.position_mm for lesion in findings.lesions for s in lesion.slices]
    if not positions:
        return ""
    axes = Axes(min(positions), max(positions))
    plotted = list(zip((lesion for lesion in findings.lesions if lesion.slices), cycle(COLOURS), strict=False))
    drawn = [_lesion(lesion, colour, axes, scores) for lesion, colour in plotted]
    legend = "".join(_key(lesion, colour) for lesion, colour in plotted)
    summary = f"EGFR-DLS of {len(positions)} slices, {axes.low_mm:.1f} to {axes.high_mm:.1f} mm"
    return (
        f'<figure class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{summary}">'
        f"{_frame(axes, scores.egfr_cut_off)}{''.join(drawn)}</svg><figcaption>{legend}</figcaption></figure>"
    )


def _lesion(lesion: LesionFinding, colour: str, axes: Axes, scores: PrintedScores) -> str:
    points = [(axes.x(s.position_mm), axes.y(s.egfr_dls), s) for s in lesion.slices]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    discs = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">'
        f"<title>{escape(lesion.label)}, {s.position_mm:.1f} mm: {scores.egfr_text(s.egfr_dls)}</title></circle>"
        for x, y, s in points
    )
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>{discs}'


def _key(lesion: LesionFinding, colour: str) -> str:
    disc = f'<svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="5" fill="{colour}"/></svg>'
    return f"<span>{disc} {escape(lesion.label)}</span>"


def _frame(axes: Axes, cut_off: float) -> str:
    left, right = LEFT, WIDTH - RIGHT
    labels = [
        *(_label(left - 8, axes.y(v) + 4, f"{v:g}", "end") for v in (0.0, 1.0)),
        _label(left - 8, axes.y(cut_off) + 4, wording.cut_off_text(cut_off), "end"),
        _label(right, axes.y(cut_off) - 6, "cut-off", "end"),
        *(_label(axes.x(v), HEIGHT - BOTTOM + 18, f"{v:.1f}", "middle") for v in sorted({axes.low_mm, axes.high_mm})),
        _label((left + right) / 2, HEIGHT - 6, "position along the slice normal, mm", "middle"),
    ]
    lines = [
        *(_line(left, right, axes.y(v), "currentColor", "none") for v in (0.0, 1.0)),
        _line(left, right, axes.y(cut_off), CUT_OFF_COLOUR, "6 4"),
    ]
    return "".join(lines + labels)


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(left: float, right: float, y: float, colour: str, dashes: str) -> str:
    return (
        f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
        f'stroke-dasharray="{dashes}" stroke-opacity="0.8"/>'
    )
