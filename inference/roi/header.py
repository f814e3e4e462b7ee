"""Header values that SEG and RTSTRUCT objects share, typed once; a missing or foreign one is refused by name."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TypeVar

from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import Volume
from inference.read.header import clock, day, integer, items, text, where, written
from inference.roi.stored import CodedConcept, Reference, shown

T = TypeVar("T")
OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)")


def reference_of(ds: Dataset) -> Reference:
    """Return the references of a SEG (0008,1115) or RTSTRUCT (3006,0010), of all its regions together."""
    series = [text(item, "SeriesInstanceUID") for item in items(ds, "ReferencedSeriesSequence")]
    frames = [text(ds, "FrameOfReferenceUID")]
    for frame in items(ds, "ReferencedFrameOfReferenceSequence"):
        frames.append(text(frame, "FrameOfReferenceUID"))
        series += _series_in(frame)
    return Reference(frozenset(series) - {""}, frozenset(frames) - {""})


def reference_in_frame(ds: Dataset, frame_of_reference_uid: str) -> Reference:
    """Return an RTSTRUCT's references in one frame of reference, listed there or not; all of them where none is stated."""
    if not frame_of_reference_uid:
        return reference_of(ds)
    frames = items(ds, "ReferencedFrameOfReferenceSequence")
    its = [frame for frame in frames if text(frame, "FrameOfReferenceUID") == frame_of_reference_uid]
    series = frozenset(uid for frame in its for uid in _series_in(frame))
    return Reference(series - {""}, frozenset({frame_of_reference_uid}))


def _series_in(frame: Dataset) -> list[str]:
    return [
        text(series, "SeriesInstanceUID")
        for study in items(frame, "RTReferencedStudySequence")
        for series in items(study, "RTReferencedSeriesSequence")
    ]


def require_reference(ds: Dataset, reference: Reference, grid: Volume) -> None:
    """Refuse an object, or a region of it, that belongs to other images (``reference_missing``)."""
    if not reference.serves(grid):
        raise reference_missing(ds, reference, grid)


def reference_missing(ds: Dataset, reference: Reference, grid: Volume) -> StudyRefusedError:
    """Return the refusal ``ROI_REFERENCE_MISSING``: what it refers to, and what is there."""
    return StudyRefusedError(
        RefusalCode.ROI_REFERENCE_MISSING,
        f"{object_name(ds)}: referenced series not received: it refers to SeriesInstanceUID (0020,000E) "
        f"{_listed(reference.series_uids)} and FrameOfReferenceUID (0020,0052) "
        f"{_listed(reference.frame_of_reference_uids)}; needed series {grid.series_instance_uid} or frame of "
        f"reference {grid.frame_of_reference_uid}",
    )


def object_name(ds: Dataset) -> str:
    """How a message names the object."""
    return f"{shown(text(ds, 'Modality')) or 'object'} {text(ds, 'SOPInstanceUID') or '(no SOPInstanceUID)'}"


def found(item: Dataset, keyword: str) -> str:
    """How a message says what an element holds, e.g. ``Rows (0028,0010) is '0'``."""
    value = written(item, keyword)
    return f"{where(keyword)} is {shown(value)!r}" if value else f"{where(keyword)} is missing"


def required(value: T | None, item: Dataset, keyword: str, ds: Dataset, needed: str) -> T:
    """Return a value that the object cannot be read without.

    Raises
    ------
    StudyRefusedError
        ``GEOMETRY_MISMATCH``, naming keyword, what was found and the object
    """
    if value is None or (isinstance(value, tuple) and not value):
        raise unplaced(ds, f"{found(item, keyword)}, needed {needed}")
    return value


def required_integer(item: Dataset, keyword: str, ds: Dataset) -> int:
    """Return a whole number that the object cannot be read without (``required``)."""
    return required(integer(item, keyword), item, keyword, ds, "a whole number")


def required_items(item: Dataset, keyword: str, ds: Dataset) -> tuple[Dataset, ...]:
    """Return the items of a sequence that the object cannot be read without (``required``)."""
    return required(items(item, keyword), item, keyword, ds, "an item or more")


def unplaced(ds: Dataset, why: str) -> StudyRefusedError:
    """Return the refusal of an object whose regions have no place on the images."""
    return StudyRefusedError(
        RefusalCode.GEOMETRY_MISMATCH,
        f"{object_name(ds)}: {why}; the region cannot be placed on the images without it",
    )


def concepts_of(item: Dataset, *keywords: str) -> tuple[CodedConcept, ...]:
    """Return the codes in these sequences."""
    return tuple(
        CodedConcept(
            text(code, "CodeValue") or text(code, "LongCodeValue"),
            text(code, "CodingSchemeDesignator"),
            shown(text(code, "CodeMeaning")),
        )
        for keyword in keywords
        for code in items(item, keyword)
    )


def datetime_of(ds: Dataset, *pairs: tuple[str, str]) -> datetime | None:
    """Return the first readable date of (date keyword, time keyword) pairs, as written; midnight where it has no time."""
    for date_keyword, time_keyword in pairs:
        if on := day(ds, date_keyword):
            return datetime.combine(on, clock(ds, time_keyword) or time())
    return None


def utc_offset_of(ds: Dataset) -> timedelta | None:
    """Return Timezone Offset From UTC (0008,0201), ``+hhmm`` or ``-hhmm`` (PS3.3 C.12.1.1.8); None where it is none."""
    match = OFFSET.fullmatch(text(ds, "TimezoneOffsetFromUTC"))
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    return int(f"{sign}1") * timedelta(hours=int(hours), minutes=int(minutes))


def person_of(ds: Dataset, keyword: str) -> str:
    """Return a person's name for the report: its first component group that is filled, without carets (PS3.5 6.2.1)."""
    groups = (shown(group.replace("^", " ")) for group in written(ds, keyword).split("="))
    return next((name for name in groups if name), "")


def software_of(ds: Dataset) -> str:
    """Return the product that wrote the object: manufacturer, model and version."""
    parts = (shown(written(ds, k)) for k in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions"))
    return " ".join(part for part in parts if part)


def _listed(uids: frozenset[str]) -> str:
    return ", ".join(sorted(uids)) or "(none)"
