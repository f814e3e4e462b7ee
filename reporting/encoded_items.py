"""Sequence items in their encoded form (PS3.5 7.5, Explicit VR Little Endian): what repeats is encoded once.

pydicom writes a raw sequence as it is, and decodes it where it is read; every dataset above it must say that its encoding
will not change, else pydicom decodes and encodes all of it again, once for each level.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import Dataset
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence_item
from pydicom.tag import Tag

CONTENT_SEQUENCE = Tag("ContentSequence")


def encoded(item: Dataset) -> bytes:
    """Return a content item whose text is ASCII, as an item of a sequence."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    keep_encoding(item)
    write_sequence_item(buffer, item, [default_encoding])
    return buffer.getvalue()


def set_content(parent: Dataset, items: Iterable[bytes]) -> None:
    """Give a content item its children (0040,A730) in encoded form."""
    value = b"".join(items)
    parent[CONTENT_SEQUENCE] = RawDataElement(CONTENT_SEQUENCE, "SQ", len(value), value, 0, False, True)


def keep_encoding(ds: Dataset) -> None:
    """Say of a dataset and all that it holds that it is written in Explicit VR Little Endian, as its raw parts are."""
    named = ds.get("SpecificCharacterSet")
    ds.set_original_encoding(False, True, convert_encodings(named) if named else default_encoding)
    for element in ds.elements():
        if element.VR == "SQ" and isinstance(element, DataElement):
            for item in element.value:
                keep_encoding(item)
