"""What a page is drawn with: words, blocks, strokes and discs, each a value that can draw itself.

Coordinates are pixels from the upper left corner of the sheet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from typing import Literal, Protocol

from PIL import Image
from PIL.ImageDraw import ImageDraw

from reporting.page_text import font

HALO = 2  # pixels around words that stand in a picture
DASH = b"\xff" * 6 + b"\x00" * 4  # opacity, pixel by pixel
FINER = 4  # a disc is drawn this much larger and reduced, so that its edge is smooth


class Mark(Protocol):
    """Something on a page."""

    def draw(self, sheet: Image.Image) -> None:
        """Draw it."""


@dataclass(frozen=True)
class Words:
    """A line of text, centred vertically on ``y``; ``halo`` is the colour around it in a picture."""

    x: float
    y: float
    text: str
    size: float
    colour: str
    bold: bool = False
    align: Literal["l", "m", "r"] = "l"
    halo: str | None = None

    def draw(self, sheet: Image.Image) -> None:
        """Draw it."""
        if self.halo is not None:
            self._paste(sheet, self.halo, HALO)
        self._paste(sheet, self.colour, 0)

    def _paste(self, sheet: Image.Image, colour: str, stroke: int) -> None:
        (left, upper), ink = _ink(self.text, self.size, self.bold, self.align, stroke)
        sheet.paste(colour, (round(self.x) + left, round(self.y) + upper), ink)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return the ink's left, upper, right and lower edge."""
        x0, y0, x1, y1 = font(self.size, bold=self.bold).getbbox(self.text, anchor=f"{self.align}m")
        return self.x + x0, self.y + y0, self.x + x1, self.y + y1


@lru_cache(maxsize=512)  # most of a page's words stand on the next one too
def _ink(text: str, size: float, bold: bool, align: str, stroke: int) -> tuple[tuple[int, int], Image.Image]:
    """Return where the ink begins, from the anchor, and its opacity."""
    face, anchor = font(size, bold=bold), f"{align}m"
    left, upper, right, lower = (
        round_out(edge) for round_out, edge in zip(
            (floor, floor, ceil, ceil), face.getbbox(text, anchor=anchor, stroke_width=stroke), strict=True
        )
    )  # fmt: skip
    ink = Image.new("L", (right - left, lower - upper))
    ImageDraw(ink).text((-left, -upper), text, fill=255, font=face, anchor=anchor, stroke_width=stroke)
    return (left, upper), ink


@dataclass(frozen=True)
class Block:
    """A filled rectangle, ``x1`` and ``y1`` not included; at least a pixel wide and high."""

    x0: float
    y0: float
    x1: float
    y1: float
    colour: str

    def draw(self, sheet: Image.Image) -> None:
        """Draw it."""
        left, upper = round(self.x0), round(self.y0)
        right, lower = max(round(self.x1), left + 1), max(round(self.y1), upper + 1)
        sheet.paste(self.colour, (left, upper, right, lower))


@dataclass(frozen=True)
class Dashes:
    """A dashed line, one pixel thick: ``width`` or ``height`` is 1."""

    x: int
    y: int
    width: int
    height: int
    colour: str

    def draw(self, sheet: Image.Image) -> None:
        """Draw it."""
        length = self.width * self.height
        pattern = (DASH * (length // len(DASH) + 1))[:length]
        sheet.paste(self.colour, (self.x, self.y), Image.frombytes("L", (self.width, self.height), pattern))


def across(x0: float, x1: float, y: float, width: int, colour: str) -> Block:
    """Return a horizontal stroke, ``width`` pixels thick."""
    upper = round(y - width / 2)
    return Block(x0, upper, x1, upper + width, colour)


def down(x: float, y0: float, y1: float, width: int, colour: str) -> Block:
    """Return a vertical stroke, ``width`` pixels thick."""
    left = round(x - width / 2)
    return Block(left, y0, left + width, y1, colour)


@dataclass(frozen=True)
class Disc:
    """A filled circle."""

    x: float
    y: float
    diameter: int
    colour: str

    def draw(self, sheet: Image.Image) -> None:
        """Draw it."""
        side = self.diameter * FINER
        mask = Image.new("L", (side, side))
        ImageDraw(mask).ellipse((0, 0, side - 1, side - 1), fill=255)
        corner = (round(self.x - self.diameter / 2), round(self.y - self.diameter / 2))
        sheet.paste(self.colour, corner, mask.reduce(FINER))
