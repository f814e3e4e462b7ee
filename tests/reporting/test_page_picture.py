"""A picture shows the slice in its place and its size: grey values, map, outline, the network's square and the ruler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageColor import getrgb

from reporting.page_content import Panel
from reporting.page_marks import Block, Dashes, Disc, Words, across
from reporting.page_picture import BOX_COLOUR, CT_OUTLINE, PET_OUTLINE, Picture, _colours
from reporting.page_text import BOLD, REGULAR, printable

SIDE, PIXELS = 320, 32  # a pixel of the slice is 10 of the sheet
SQUARE = np.zeros((PIXELS, PIXELS), dtype=bool)
SQUARE[8:20, 10:24] = True


def panel(**changes: object) -> Panel:
    """Return a black slice with a region, pixels of 2 mm."""
    made = Panel(
        "CT", np.zeros((PIXELS, PIXELS)), np.zeros((PIXELS, PIXELS), dtype=bool), None, (4, 6, 28, 30), (2.0, 2.0), ("R", "A")
    )  # fmt: skip
    return replace(made, **changes)


def pixels(shown: Panel, *, marks: bool = False) -> NDArray[np.uint8]:
    """Return the drawn picture, without or with what is drawn on it."""
    sheet = Image.new("RGB", (SIDE, SIDE), "#ff00ff")
    picture = Picture.of(shown, 0, 0, SIDE)
    for mark in picture.marks() if marks else [picture]:
        mark.draw(sheet)
    return np.asarray(sheet)


def where(drawn: NDArray[np.uint8], colour: str) -> NDArray[np.bool_]:
    """Return where exactly this colour stands."""
    return np.asarray((drawn == getrgb(colour)).all(axis=2))


@pytest.mark.parametrize(("caption", "colour"), [("CT", CT_OUTLINE), ("PET", PET_OUTLINE)])
def test_the_outline_runs_where_region_and_surroundings_meet(caption: str, colour: str) -> None:
    line = where(pixels(panel(outline=SQUARE, caption=caption)), colour)
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (79, 200, 99, 240)  # 8, 20, 10 and 24 pixels of 10
    inside = line[85:195, 105:235]
    assert not inside.any()
    assert {int(n) for n in line[140, :].nonzero()[0]} == {99, 100, 239, 240}  # two pixels wide


def test_an_outline_has_smooth_edges() -> None:
    disc = np.hypot(*(np.mgrid[:PIXELS, :PIXELS] - PIXELS / 2)) < 9
    drawn = pixels(panel(outline=disc)).astype(int)
    partly = (drawn[..., 0] > 20) & (drawn[..., 0] < 230)
    assert partly.sum() > 100


def test_a_region_that_is_nothing_or_all_has_no_outline() -> None:
    for region in (np.zeros((PIXELS, PIXELS), dtype=bool), np.ones((PIXELS, PIXELS), dtype=bool)):
        assert not pixels(panel(outline=region)).any()


def test_a_region_that_leaves_the_picture_has_no_line_along_its_edge() -> None:
    region = np.zeros((PIXELS, PIXELS), dtype=bool)
    region[:, :16] = True
    line = where(pixels(panel(outline=region)), CT_OUTLINE)
    assert set(line.nonzero()[1]) == {159, 160}


def test_pixels_that_are_not_square_keep_their_size_in_mm() -> None:
    drawn = pixels(panel(pixel_mm=(1.0, 2.0)))
    black = where(drawn, "#000000")
    assert black.any(axis=1).sum() == SIDE / 2
    assert black.any(axis=0).sum() == SIDE


def test_grey_values_run_from_black_to_white() -> None:
    ramp = np.repeat(np.linspace(0, 1, PIXELS)[None], PIXELS, axis=0)
    drawn = pixels(panel(grey=ramp))
    assert (drawn[0, 0] == 0).all()
    assert (drawn[0, -1] == 255).all()
    assert (np.diff(drawn[0, :, 0].astype(int)) >= 0).all()


def test_the_map_lies_over_its_own_pixels_and_nothing_elsewhere() -> None:
    overlay = np.zeros((PIXELS, PIXELS))
    overlay[3, 5] = 1.0
    drawn = pixels(panel(overlay=overlay))
    assert set(zip(*np.nonzero(drawn.any(axis=2)), strict=True)) == {
        (r, c) for r in range(30, 40) for c in range(50, 60)
    }
    assert drawn[35, 55] == pytest.approx(np.array(getrgb("#fcffa4")) * 0.75, abs=1)


def test_a_map_comes_with_its_scale_and_a_slice_without_map_has_none() -> None:
    drawn = pixels(panel(overlay=np.zeros((PIXELS, PIXELS))), marks=True)
    bar = drawn[304, 224:304].astype(int)
    assert (bar[0] < 20).all()
    assert bar[-1] == pytest.approx(np.array(getrgb("#fcffa4")), abs=12)
    assert not pixels(panel(), marks=True)[304, 224:304].any()


def test_the_colours_of_the_map_are_inferno() -> None:
    known = np.array(colormaps["inferno"].colors) * 255
    assert np.abs(_colours() - known).max() < 2.5


def test_the_square_of_the_network_is_dashed_where_it_lies() -> None:
    line = where(pixels(panel(), marks=True), BOX_COLOUR)
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (40, 280, 60, 300)
    assert 0.55 < line[40, 60:300].mean() < 0.65


def test_the_ruler_is_as_long_as_it_says() -> None:
    picture = Picture.of(panel(), 0, 0, SIDE)
    (label,) = (mark for mark in picture.marks() if isinstance(mark, Words) and mark.text.endswith("mm"))
    ink = where(pixels(panel(), marks=True), label.colour)
    assert label.text == "10 mm"  # a picture of 64 mm
    assert ink[304, :200].sum() == 50  # 5 pixels of the sheet a mm


def test_letters_stand_out_on_any_ground() -> None:
    """White on white bone is nothing to read: what is in a picture has its contrast with it."""
    for caption, ground in (("CT", 1.0), ("PET", 0.0)):
        shown = panel(caption=caption, grey=np.full((PIXELS, PIXELS), ground))
        corner = pixels(shown, marks=True)[150:170, 0:25].astype(int)
        assert np.ptp(corner) > 200


def test_strokes_and_discs_have_their_size() -> None:
    sheet = Image.new("RGB", (40, 40))
    across(5, 25, 10, 3, "#ffffff").draw(sheet)
    Disc(30, 30, 12, "#00ff00").draw(sheet)
    Dashes(0, 0, 40, 1, "#0000ff").draw(sheet)
    Block(38, 38, 38.2, 38.2, "#ff0000").draw(sheet)
    drawn = np.asarray(sheet)
    assert where(drawn, "#ffffff").sum() == 60
    assert drawn[..., 1].astype(int).sum() / 255 - 60 == pytest.approx(np.pi * 36, rel=0.03)
    assert where(drawn, "#0000ff").sum() == 24
    assert where(drawn, "#ff0000").sum() == 1


def test_what_is_printed_is_what_both_fonts_have_glyphs_for() -> None:
    """Held against the font's own table of characters."""
    regular, bold = (set(FT2Font(str(path)).get_charmap()) for path in (REGULAR, BOLD))
    for code in [*range(0x21, 0x3000), 0x4E2D, 0xFFFD, 0x1F600]:
        character = chr(code)
        if character.isprintable() and not character.isspace():
            assert printable(character) == (character if code in regular else "?"), hex(code)
    assert {ord(c) for c in map(chr, range(0x20, 0x180)) if c.isprintable()} <= regular & bold
