"""The pixels of a de-identified object, and what may be written in them.

Pixels are decoded and stored anew: comments in compressed streams, overlays in unused bits (PS3.5 8.1.2) and bytes behind
the last pixel stay behind.
"""

from __future__ import annotations

import warnings

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits, pixel_array

from inference.read.header import integer, text, texts, unreadable

# Where patient and institution are written into the pixels as a rule (PS3.15 E.3.1): secondary captures of every kind
# (PS3.4 B.5), and images of modalities whose console writes into them.
SCREEN_CLASSES = "1.2.840.10008.5.1.4.1.1.7"
WRITING_MODALITIES = frozenset({"US", "XA", "RF", "ES", "XC", "OT", "SC", "DOC", "MG", "CR", "DX"})
SCREEN_TYPES = frozenset({"SCREEN SAVE", "SCREENSAVE"})
BURNED_IN = "BURNED_IN_ANNOTATION"
LIKELY = "BURNED_IN_LIKELY"


def burned_in(ds: Dataset) -> str | None:
    """Return why an image may show who is on it; None where its header gives no reason to think so.

    ``BURNED_IN_ANNOTATION``: Burned In Annotation (0028,0301) says YES. ``BURNED_IN_LIKELY``: its class, modality or Image
    Type (0008,0008) is one of those that do, and (0028,0301) does not say NO.
    """
    stated = text(ds, "BurnedInAnnotation").upper()
    if stated == "YES":
        return BURNED_IN
    screen = text(ds, "SOPClassUID") == SCREEN_CLASSES or text(ds, "SOPClassUID").startswith(f"{SCREEN_CLASSES}.")
    writes = text(ds, "Modality") in WRITING_MODALITIES
    saved = any(kind.upper() in SCREEN_TYPES for kind in texts(ds, "ImageType"))
    return LIKELY if stated != "NO" and (screen or writes or saved) else None


def clean_pixels(ds: Dataset, cleaned: Dataset) -> None:
    """Give a cleaned object the pixels of ``ds``, native and without anything beside them.

    Raises
    ------
    StudyRefusedError
        ``PIXELS_UNREADABLE``: they cannot be decoded
    """
    if "PixelData" not in ds:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bytes behind the last pixel, which stay behind
            values = np.asarray(pixel_array(ds))
    except Exception as error:  # noqa: BLE001  # hostile bytes make decoders raise anything, RecursionError included
        raise unreadable(ds, "PixelData (7FE0,0010)", error) from None
    if integer(ds, "BitsAllocated") == 1:
        cleaned.add_new("PixelData", "OB", _even(pack_bits(values, pad=False)))
        return
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()  # pydicom has cleared the unused bits
    cleaned.add_new("PixelData", "OB" if values.dtype.itemsize == 1 else "OW", _even(data))


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)
