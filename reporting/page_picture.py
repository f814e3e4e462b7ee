"""A slice as a picture: grey values, activation map, outline of the region, the network's square, ruler and edge letters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageColor import getrgb

from reporting.page_content import Panel
from reporting.page_marks import Block, Dashes, Mark, Words, across

CT_OUTLINE, PET_OUTLINE, BOX_COLOUR = "#ffe14d", "#e0323c", "#4cc9f0"
WHITE, BLACK = "#ffffff", "#101418"
MAP_OPACITY = 0.75  # where the map is at its maximum
HALF = 128  # of 255
FINER = 2  # the outline is found on a grid this much finer and reduced, so that its edge is smooth
INFERNO = (  # of matplotlib (S. van der Walt and N. Smith, CC0), 33 of its 256 colours
    "000004", "040312", "0b0724", "150b37", "210c4a", "2f0a5b", "3d0965", "4a0c6b", "57106e", "64156e", "71196e",
    "7d1e6d", "8a226a", "972766", "a32c61", "b0315b", "bc3754", "c63d4d", "d04545", "da4e3c", "e35933", "eb6429",
    "f1711f", "f67e14", "f98c0a", "fb9b06", "fcaa0f", "fbba1f", "f9c932", "f5d949", "f2e865", "f3f586", "fcffa4",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Picture:
    """A slice in a square cell, in millimetres, square pixels or not.

    Parameters
    ----------
    x, y, width, height
        where it lies on the sheet, pixels
    scale
        pixels of the sheet per mm
    """

    panel: Panel
    x: int
    y: int
    width: int
    height: int
    scale: float

    @staticmethod
    def of(panel: Panel, x: float, y: float, side: float) -> Picture:
        """Return the picture in the middle of a square cell of this side, pixels."""
        rows_mm, columns_mm = (n * mm for n, mm in zip(panel.grey.shape, panel.pixel_mm, strict=True))
        scale = side / max(rows_mm, columns_mm)
        width, height = max(round(columns_mm * scale), 1), max(round(rows_mm * scale), 1)
        return Picture(panel, round(x + (side - width) / 2), round(y + (side - height) / 2), width, height, scale)

    def marks(self) -> Iterator[Mark]:
        """Yield the pixels and what is drawn on them."""
        yield self
        yield from self._square()
        yield from self._ruler()
        yield from self._letters()
        if self.panel.overlay is not None:
            yield from self._colour_bar()

    def draw(self, sheet: Image.Image) -> None:
        """Draw grey values, map and outline."""
        picture = Image.fromarray(_bytes(self.panel.grey)).resize(self._size, Image.Resampling.BILINEAR).convert("RGB")
        if self.panel.overlay is not None:
            colours = Image.fromarray(_colours()[_bytes(self.panel.overlay)])
            opacity = Image.fromarray(_bytes(self.panel.overlay * MAP_OPACITY))
            nearest = Image.Resampling.NEAREST
            picture.paste(colours.resize(self._size, nearest), mask=opacity.resize(self._size, nearest))
        outline = _outline(_bytes(self.panel.outline).tobytes(), self.panel.outline.shape, self._size)
        picture.paste(PET_OUTLINE if self._dark_ink else CT_OUTLINE, mask=outline)
        sheet.paste(picture, (self.x, self.y))

    @property
    def _size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def _dark_ink(self) -> bool:
        return self.panel.caption.startswith("PET")

    def _square(self) -> Iterator[Mark]:
        """Yield the dashed edges of what the network saw."""
        row0, column0, row1, column1 = self.panel.box
        row_step, column_step = self.height / self.panel.grey.shape[0], self.width / self.panel.grey.shape[1]
        left, width = round(self.x + column0 * column_step), max(round((column1 - column0) * column_step), 1)
        upper, height = round(self.y + row0 * row_step), max(round((row1 - row0) * row_step), 1)
        for y in (upper, upper + height - 1):
            yield Dashes(left, y, width, 1, BOX_COLOUR)
        for x in (left, left + width - 1):
            yield Dashes(x, upper, 1, height, BOX_COLOUR)

    def _ruler(self) -> Iterator[Mark]:
        length_mm = 10.0 if self.width < 80 * self.scale else 20.0
        x, y, length = self.x + 0.05 * self.width, self.y + 0.95 * self.height, length_mm * self.scale
        ink, halo = self._ink
        yield Block(x - 1, y - 3, x + length + 1, y + 2, halo)
        yield across(x, x + length, y, 3, ink)
        yield Words(x + length / 2, y - 0.04 * self.height, f"{length_mm:.0f} mm", 12, ink, align="m", halo=halo)

    def _colour_bar(self) -> Iterator[Mark]:
        """Yield the scale of the map: the colours from 0 to the patient's maximum, which is 1."""
        ink, halo = self._ink
        width = 0.25 * self.width
        x, y = self.x + 0.95 * self.width - width, self.y + 0.95 * self.height
        yield Block(x - 1, y - 5, x + width + 1, y + 4, halo)
        yield Gradient(round(x), round(y - 4), round(width), 7)
        for share, label in ((0.0, "0"), (1.0, "1")):
            yield Words(x + share * width, y - 0.04 * self.height, label, 12, ink, align="m", halo=halo)

    def _letters(self) -> Iterator[Mark]:
        ink, halo = self._ink
        at_left, at_top = self.panel.edges
        yield Words(self.x + 0.02 * self.width, self.y + 0.5 * self.height, at_left, 14, ink, bold=True, halo=halo)
        middle = self.x + 0.5 * self.width
        yield Words(middle, self.y + 0.04 * self.height, at_top, 14, ink, bold=True, align="m", halo=halo)

    @property
    def _ink(self) -> tuple[str, str]:
        """Return the colour of letters and of what is around them."""
        return (BLACK, WHITE) if self._dark_ink else (WHITE, BLACK)


@dataclass(frozen=True)
class Gradient:
    """The colours of the map in their order, from left to right."""

    x: int
    y: int
    width: int
    height: int

    def draw(self, sheet: Image.Image) -> None:
        """Draw it."""
        row = Image.fromarray(_colours()[None])
        sheet.paste(row.resize((self.width, self.height), Image.Resampling.BILINEAR), (self.x, self.y))


def _bytes(share: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return 0 to 1 as 0 to 255."""
    return np.rint(np.clip(np.asarray(share, dtype=np.float64), 0, 1) * 255).astype(np.uint8)


def _colours() -> NDArray[np.uint8]:
    """Return inferno as uint8 ``[256, 3]``."""
    known = np.array([getrgb(f"#{colour}") for colour in INFERNO])
    at = np.linspace(0, 255, len(known)).round()
    return np.stack([np.interp(np.arange(256), at, known[:, i]) for i in range(3)], axis=1).round().astype(np.uint8)


@lru_cache(maxsize=8)  # the pictures of a page have one outline
def _outline(region: bytes, shape: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """Return the opacity of a line, two pixels wide, where the region's share of a pixel crosses one half.

    Parameters
    ----------
    region, shape
        0 or 255 for each pixel; rows, columns
    size
        width and height of the picture, pixels
    """
    crop = Image.frombytes("L", shape[::-1], region)
    finer = crop.resize((FINER * size[0], FINER * size[1]), Image.Resampling.BILINEAR)
    inside = np.asarray(finer) >= HALF
    near = _grown(_grown(inside)) & _grown(_grown(~inside))
    return Image.fromarray(_bytes(near)).reduce(FINER)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask with its four-connected neighbours."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
