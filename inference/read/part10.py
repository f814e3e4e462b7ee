"""A stored instance's bytes to a dataset."""

from __future__ import annotations

import io

from pydicom import dcmread
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode


def read_part10(data: bytes, sop_instance_uid: str) -> Dataset:
    """Read one Part 10 file, pixels not yet decoded.

    Raises
    ------
    StudyRefusedError
        ``PIXELS_UNREADABLE``: the bytes are no data set that can be decoded
    """
    try:
        return dcmread(io.BytesIO(data))
    except Exception as error:  # hostile bytes make pydicom raise anything, RecursionError included
        raise StudyRefusedError(
            RefusalCode.PIXELS_UNREADABLE,
            f"instance {sop_instance_uid} cannot be decoded ({type(error).__name__}); "
            "needed: a readable object, sent again by its source",
        ) from error
