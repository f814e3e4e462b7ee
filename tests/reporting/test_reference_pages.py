"""The pages look as they did when a person looked at them (``tests.reporting.reference``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.reporting.reference import REFERENCES, drawn, stored

MEAN_LEVELS = 1.5  # of 255: what 256 colours and another build of the font renderer may cost
FAR_LEVELS, FAR_SHARE = 48, 0.001  # so few pixels may be that far off: a letter has more


def far(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the share of pixels that differ by so much that an eye sees it."""
    return float((np.abs(one.astype(int) - other.astype(int)).max(axis=2) > FAR_LEVELS).mean())


@pytest.mark.parametrize("name", REFERENCES)
def test_a_page_looks_as_it_was_found_good(name: str, tmp_path: Path) -> None:
    now, then = drawn(name), stored(name)
    Image.fromarray(np.concatenate([now, then], axis=1)).save(tmp_path / f"{name}.png")  # to look at where it fails
    assert now.shape == then.shape
    assert np.abs(now.astype(int) - then.astype(int)).mean() < MEAN_LEVELS, tmp_path
    assert far(now, then) < FAR_SHARE, tmp_path


def test_another_number_an_outline_elsewhere_and_a_lost_banner_are_seen() -> None:
    """The tolerance hides nothing that matters."""
    then = stored("summary")
    number, outline = then.copy(), then.copy()
    number[50:80, 60:90] = np.roll(number[50:80, 60:90], 4, axis=1)
    outline[60:140, 340:420] = np.roll(outline[60:140, 340:420], 3, axis=1)
    assert far(number, then) > FAR_SHARE
    assert far(outline, then) > FAR_SHARE
    banner = stored("demonstration").copy()
    banner[28:48] = banner[0]
    assert far(banner, stored("demonstration")) > FAR_SHARE
