"""Set text in DejaVu Sans: which characters can be printed, how wide they are, where lines break.

Sizes are pixels of the em square. The fonts are the files that matplotlib ships; matplotlib itself is not imported. Glyphs
are laid out one after the other (Pillow's basic layout), the same with every build of Pillow.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL.ImageFont import FreeTypeFont, Layout, truetype

NO_CHARACTER = "\uffff"  # never a character (Unicode 23.7): drawn as what the font has no glyph for


def _fonts() -> Path:
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("matplotlib is not installed; its DejaVu fonts are needed")
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"


REGULAR, BOLD = _fonts() / "DejaVuSans.ttf", _fonts() / "DejaVuSans-Bold.ttf"


@lru_cache(maxsize=64)
def font(size: float, *, bold: bool = False) -> FreeTypeFont:
    """Return the font in a size."""
    return truetype(BOLD if bold else REGULAR, size, layout_engine=Layout.BASIC)


@lru_cache(maxsize=1024)
def printable(text: str) -> str:
    """Return the text without control characters, and with ? for what the font has no glyph for."""
    return "".join(c if _has_glyph(c) else "?" for c in " ".join(text.split()) if c.isprintable())


@lru_cache(maxsize=1024)
def wrapped(text: str, size: float, width: float, *, bold: bool = False) -> tuple[str, ...]:
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
    return tuple(lines)


@lru_cache(maxsize=4096)
def word_width(word: str, size: float, *, bold: bool = False) -> float:
    """Return the advance of a word in pixels."""
    return font(size, bold=bold).getlength(word)


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    return character == " " or _ink(character) != _ink(NO_CHARACTER)


def _ink(character: str) -> tuple[tuple[int, int], bytes]:
    mask = font(32.0).getmask(character)
    return mask.size, bytes(mask)


def _pieces(word: str, size: float, width: float, *, bold: bool) -> list[str]:
    if word_width(word, size, bold=bold) <= width:
        return [word]
    pieces, used = [""], 0.0
    for character in word:
        advance = word_width(character, size, bold=bold)
        if used + advance > width and pieces[-1]:
            pieces.append("")
            used = 0.0
        pieces[-1] += character
        used += advance
    return pieces
