"""Stored values of one slice; all pixel decoding of image series lives here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from inference.read.header import integer, text, unreadable, where

# The decoder plug-in of each compressed transfer syntax that the product installs.
PLUGINS: dict[str, str] = {
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg-openjpeg"),
    **dict.fromkeys(JPEGTransferSyntaxes, "pylibjpeg-libjpeg"),
}


def require_bytes(datasets: Sequence[Dataset], shape: tuple[int, int]) -> None:
    """Refuse slices whose pixels are shorter than Rows and Columns claim, before any memory is taken for them.

    Compressed slices pass: each one's own stream says its size, and the decoder compares.

    Raises
    ------
    StudyRefusedError
        ``PIXELS_UNREADABLE``, with what is there and what is needed
    """
    for ds in datasets:
        syntax, bits, held = _syntax(ds), integer(ds, "BitsAllocated"), _stored_bytes(ds)
        needed = shape[0] * shape[1] * (bits or 0) // 8
        if syntax.is_transfer_syntax and not syntax.is_encapsulated and held < needed:
            pixels = f"{shape[0]} x {shape[1]} pixels of {bits} bits"
            raise unreadable(ds, f"{where('PixelData')} of {held} bytes where {pixels} need {needed}", ValueError())


def _stored_bytes(ds: Dataset) -> int:
    """Return the length of PixelData (7FE0,0010), also of pixels that are still in the file."""
    element = ds.get_item("PixelData") if "PixelData" in ds else None
    if isinstance(element, RawDataElement):
        return int(element.length)
    return len(element.value or b"") if element is not None else 0


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


def _syntax(ds: Dataset) -> UID:
    return UID(text(getattr(ds, "file_meta", Dataset()), "TransferSyntaxUID"))


def _missing_plugin(ds: Dataset) -> str:
    syntax = _syntax(ds)
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        return "a transfer syntax that can be decoded"
    return "" if available else f"the decoder plug-in {PLUGINS.get(syntax, 'of pydicom')} to be installed"
