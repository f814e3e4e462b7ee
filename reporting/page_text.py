"""Set text in the fonts that matplotlib ships: which characters can be printed, how wide they are, where lines break."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import get_font

DPI = 72  # a point is a pixel
_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
REGULAR, BOLD = _FONTS / "DejaVuSans.ttf", _FONTS / "DejaVuSans-Bold.ttf"


def printable(text: str) -> str:
    """Return the text without control characters, and with ? for what the font has no glyph for."""
    glyphs = _glyphs()
    return "".join(c if ord(c) in glyphs else "?" for c in " ".join(text.split()) if c.isprintable())


def wrapped(text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    """Return the lines of a paragraph.

    Parameters
    ----------
    text
        any; it is made printable, and a word that is wider than the column is broken
    size, width
        pixels
    """
    space = word_width(" ", size, bold=bold)
    lines, used = [""], 0.0
    for word in (piece for w in printable(text).split() for piece in _pieces(w, size, width, bold=bold)):
        needed = word_width(word, size, bold=bold)
        if lines[-1] and used + space + needed > width:
            lines.append("")
        used = needed if not lines[-1] else used + space + needed
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


@lru_cache(maxsize=4096)
def word_width(word: str, size: float, *, bold: bool = False) -> float:
    """Return the advance of a word in pixels."""
    font = get_font(str(BOLD if bold else REGULAR))
    font.set_size(size, DPI)
    font.set_text(word, 0.0)
    return float(font.get_width_height()[0]) / 64 if word.strip() else size / 3


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(str(REGULAR)).get_charmap())


def _pieces(word: str, size: float, width: float, *, bold: bool) -> list[str]:
    if word_width(word, size, bold=bold) <= width:
        return [word]
    pieces, used = [""], 0.0
    for character in word:
        used += word_width(character, size, bold=bold) + size / 10  # ink is narrower than advance
        if used > width and pieces[-1]:
            pieces.append("")
            used = word_width(character, size, bold=bold)
        pieces[-1] += character
    return pieces
