"""Stored values of one slice; all pixel decoding of image series lives here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from inference.read.header import unreadable

# The decoder plug-in of each compressed transfer syntax that the product installs.
PLUGINS: dict[str, str] = {
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg-openjpeg"),
    **dict.fromkeys(JPEGTransferSyntaxes, "pylibjpeg-libjpeg"),
}


def stored_values(ds: Dataset, shape: tuple[int, int]) -> NDArray[Any]:
    """Decode one slice, ``[y, x]``, in the numbers that are stored.

    Raises
    ------
    StudyRefusedError
        ``PIXELS_UNREADABLE``, with the class of the error, the instance, the transfer syntax and a missing plug-in
    """
    try:
        values = pixel_array(ds)
    except Exception as error:  # noqa: BLE001  # hostile bytes make decoders raise anything, RecursionError included
        raise unreadable(ds, "PixelData (7FE0,0010)", error, _missing_plugin(ds)) from None
    if values.shape != shape:
        what = f"PixelData (7FE0,0010) of {values.shape} where Rows and Columns say {shape}"
        raise unreadable(ds, what, ValueError())
    return np.asarray(values)


def _missing_plugin(ds: Dataset) -> str:
    syntax = UID(str(getattr(ds, "file_meta", Dataset()).get("TransferSyntaxUID", "") or ""))
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        return "a transfer syntax that can be decoded"
    return "" if available else f"the decoder plug-in {PLUGINS.get(syntax, 'of pydicom')} to be installed"
