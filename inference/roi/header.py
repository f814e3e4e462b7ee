"""Header values that SEG and RTSTRUCT objects share, typed once; a missing or foreign one is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import Volume
from inference.roi.stored import CodedConcept


@dataclass(frozen=True)
class Reference:
    """What a stored object was drawn on: Series Instance UIDs and Frame of Reference UIDs."""

    series_uids: frozenset[str]
    frame_of_reference_uids: frozenset[str]

    def is_on(self, volume: Volume) -> bool:
        """Tell whether it was drawn on this very series."""
        return volume.series_instance_uid in self.series_uids

    def serves(self, volume: Volume) -> bool:
        """Tell whether its positions are positions of this volume: the same series, or the same frame of reference."""
        return self.is_on(volume) or volume.frame_of_reference_uid in self.frame_of_reference_uids


def reference_of(ds: Dataset) -> Reference:
    """Return the references of a SEG (0008,1115) or RTSTRUCT (3006,0010)."""
    series = [str(item.get("SeriesInstanceUID", "")) for item in ds.get("ReferencedSeriesSequence") or ()]
    frames = [str(ds.get("FrameOfReferenceUID", ""))]
    for frame in ds.get("ReferencedFrameOfReferenceSequence") or ():
        frames.append(str(frame.get("FrameOfReferenceUID", "")))
        for study in frame.get("RTReferencedStudySequence") or ():
            series += [str(s.get("SeriesInstanceUID", "")) for s in study.get("RTReferencedSeriesSequence") or ()]
    return Reference(frozenset(series) - {""}, frozenset(frames) - {""})


def require_reference(ds: Dataset, grid: Volume) -> Reference:
    """Return the references, or refuse an object that belongs to other images.

    Raises
    ------
    StudyRefusedError
        ``ROI_REFERENCE_MISSING``
    """
    reference = reference_of(ds)
    if not reference.serves(grid):
        raise StudyRefusedError(
            RefusalCode.ROI_REFERENCE_MISSING,
            f"{object_name(ds)}: referenced series not received: it refers to SeriesInstanceUID (0020,000E) "
            f"{_listed(reference.series_uids)} and FrameOfReferenceUID (0020,0052) "
            f"{_listed(reference.frame_of_reference_uids)}; needed series {grid.series_instance_uid} or frame of "
            f"reference {grid.frame_of_reference_uid}",
        )
    return reference


def object_name(ds: Dataset) -> str:
    """How a message names the object."""
    return f"{ds.get('Modality', 'object')} {ds.get('SOPInstanceUID', '(no SOPInstanceUID)')}"


def required(item: Dataset, keyword: str, ds: Dataset) -> Any:
    """Return a value that the object cannot be read without.

    Raises
    ------
    StudyRefusedError
        ``GEOMETRY_MISMATCH``, naming the keyword and the object
    """
    try:
        value = item.get(keyword)
    except ValueError as error:  # pydicom converts at access
        raise unplaced(ds, f"{_tagged(keyword)} cannot be read: {error}") from error
    if value is None or (isinstance(value, Sequence) and len(value) == 0):
        raise unplaced(ds, f"{_tagged(keyword)} is missing")
    return value


def numbers(value: Any, count: int, keyword: str, ds: Dataset) -> tuple[float, ...]:
    """Return so many decimal numbers.

    Raises
    ------
    StudyRefusedError
        ``GEOMETRY_MISMATCH``, naming what was found
    """
    try:
        found = tuple(float(v) for v in value)
    except (TypeError, ValueError) as error:
        raise unplaced(ds, f"{_tagged(keyword)} holds {value!r}, needed {count} numbers") from error
    if len(found) != count:
        raise unplaced(ds, f"{_tagged(keyword)} holds {len(found)} values, needed {count}")
    return found


def unplaced(ds: Dataset, found: str) -> StudyRefusedError:
    """Return the refusal of an object whose regions have no place on the images."""
    return StudyRefusedError(
        RefusalCode.GEOMETRY_MISMATCH,
        f"{object_name(ds)}: {found}; the region cannot be placed on the images without it",
    )


def _tagged(keyword: str) -> str:
    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def concepts_of(item: Dataset, *keywords: str) -> tuple[CodedConcept, ...]:
    """Return the codes in these sequences."""
    return tuple(
        CodedConcept(
            str(code.get("CodeValue") or code.get("LongCodeValue") or ""),
            str(code.get("CodingSchemeDesignator", "")),
            str(code.get("CodeMeaning", "")),
        )
        for keyword in keywords
        for code in item.get(keyword) or ()
    )


def datetime_of(ds: Dataset, date_keyword: str, time_keyword: str) -> datetime | None:
    """Return a date and time as written in the header; None where there is no readable date."""
    date = str(ds.get(date_keyword) or "").strip()
    time = str(ds.get(time_keyword) or "").strip().split(".")[0].ljust(6, "0")[:6]
    for text, form in ((date + time, "%Y%m%d%H%M%S"), (date, "%Y%m%d")):
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007  # header times are compared as written
        except ValueError:
            continue
    return None


def creator_of(ds: Dataset, algorithm: str) -> str:
    """Return how and with which product the region was made; never by whom."""
    product = " ".join(str(ds.get(k) or "").strip() for k in ("Manufacturer", "ManufacturerModelName")).strip()
    return ", ".join(part for part in (algorithm, product) if part)


def _listed(uids: frozenset[str]) -> str:
    return ", ".join(sorted(uids)) or "(none)"
