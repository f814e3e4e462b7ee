"""The pages as they were looked at and found good, at half their size; ``python -m tests.reporting.reference`` draws them anew.

Look at every picture that changed before it is committed: these tests hold what a person saw.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reporting.page_content import pages
from reporting.page_drawing import draw
from tests.reporting.report_cases import Case, demonstration, refused, scored, two_lesions

FOLDER = Path(__file__).parent / "reference_pages"
COLOURS = 256  # of a stored picture: a few levels beside the drawn ones, a third of the bytes
REFERENCES: dict[str, tuple[Callable[[], Case], int]] = {  # the study, and which page of it
    "summary": (scored, 0),
    "slice": (scored, 2),
    "refusal": (refused, 0),
    "demonstration": (lambda: demonstration(two_lesions()), 0),
}


def drawn(name: str) -> NDArray[np.uint8]:
    """Return a page as it is drawn now, uint8 ``[384, 512, 3]``."""
    case, page = REFERENCES[name]
    return np.asarray(Image.fromarray(draw(pages(case().context)[page])).reduce(2))


def stored(name: str) -> NDArray[np.uint8]:
    """Return the page as it was looked at."""
    return np.asarray(Image.open(FOLDER / f"{name}.png").convert("RGB"))


def main() -> None:
    """Draw and store every picture."""
    FOLDER.mkdir(exist_ok=True)
    for name in REFERENCES:
        picture = Image.fromarray(drawn(name)).quantize(COLOURS, dither=Image.Dither.NONE)
        picture.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
