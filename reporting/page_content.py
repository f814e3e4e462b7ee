"""What stands on a page image, as values: a test reads them without looking at pixels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from egfr_dls.volume import Mask


class Tone(Enum):
    """How a line is set."""

    SCORE = "score"
    TITLE = "title"
    STRONG = "strong"
    BODY = "body"
    SMALL = "small"
    CAUTION = "caution"


@dataclass(frozen=True)
class Line:
    """A paragraph of the text column."""

    text: str
    tone: Tone = Tone.BODY


@dataclass(frozen=True)
class ScoreBar:
    """Slice scores on the axis 0 to 1, with their mean and the cut-off."""

    scores: tuple[float, ...]
    mean: float
    cut_off: float


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a slice.

    Parameters
    ----------
    grey
        float ``[row, column]``, 0 black to 1 white
    overlay
        float ``[row, column]``, 0 to 1 of the patient's common scale; None: no map
    box
        row0, column0, row1, column1 in pixels: what the network saw
    edges
        anatomical letters at the left and the upper edge
    """

    caption: str
    grey: NDArray[np.float64]
    outline: Mask
    overlay: NDArray[np.float64] | None
    box: tuple[int, int, int, int]
    pixel_mm: tuple[float, float]
    edges: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Page:
    """One page: heading, text column, pictures, footer, and the banner of a demonstration."""

    heading: str
    banner: str | None
    column: tuple[Line | ScoreBar, ...]
    panels: tuple[Panel, ...]
    footer: str
