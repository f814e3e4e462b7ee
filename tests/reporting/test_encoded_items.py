"""Items that are encoded once: what is written with them is what pydicom would have written, and nothing is decoded for it."""

from __future__ import annotations

import io

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement

from reporting.build import to_bytes
from reporting.encoded_items import CONTENT_SEQUENCE, encoded, keep_encoding, set_content
from reporting.image_library import image_library
from tests.reporting.report_cases import items, refused, scored


def tree(depth: int) -> Dataset:
    """Return a container with two children a level."""
    ds = Dataset()
    ds.ValueType, ds.TextValue = "TEXT", f"level {depth}"
    if depth:
        ds.ContentSequence = [tree(depth - 1), tree(depth - 1)]
    return ds


def file_of(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def test_encoded_children_are_written_as_decoded_ones() -> None:
    decoded, raw = tree(3), tree(0)
    raw.TextValue = decoded.TextValue
    set_content(raw, [encoded(tree(2)), encoded(tree(2))])
    keep_encoding(raw)
    assert file_of(raw) == file_of(decoded)
    assert [item.TextValue for item in items(raw)] == [item.TextValue for item in items(decoded)]


def test_the_library_is_written_without_being_decoded() -> None:
    made = scored().build()["report"]
    (library,) = (i for i in made.dataset.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "111028")
    to_bytes(made)
    assert isinstance(library.get_item(CONTENT_SEQUENCE), RawDataElement)


def test_a_report_read_and_written_again_is_the_same_bytes() -> None:
    data = to_bytes(scored().build()["report"])
    ds = dcmread(io.BytesIO(data))
    assert len(list(items(ds))) > 100  # every item decoded
    buffer = io.BytesIO()
    ds.save_as(buffer)
    assert buffer.getvalue() == data


def test_a_position_of_minus_nothing_is_written_as_it_came_whatever_came_before() -> None:
    def position(value: str) -> str:
        case = refused(ImagePositionPatient=[value, "1", "1"])
        (image, *_) = case.sources.images.values()
        return next(
            str(i.MeasuredValueSequence[0].NumericValue)
            for i in items(image_library([image]))
            if i.ConceptNameCodeSequence[0].CodeValue == "110901"
        )

    assert [position(value) for value in ("0.0", "-0.0", "0.0")] == ["0.0", "-0.0", "0.0"]
