"""When the images of a study were acquired."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydicom.dataset import Dataset

from inference.read.header import moment_of

# The dates that say when an image was made, the most telling first; each with its time.
PAIRS = (("AcquisitionDate", "AcquisitionTime"), ("StudyDate", "StudyTime"))


def latest_acquisition(datasets: Iterable[Dataset]) -> datetime | None:
    """Return the latest AcquisitionDate/Time (0008,0022)/(0008,0032), else StudyDate/Time; None where none is readable."""
    held = tuple(datasets)
    for pair in PAIRS:
        moments = [found.replace(tzinfo=None) for ds in held if (found := moment_of(ds, *pair)) is not None]
        if moments:
            return max(moments)
    return None
