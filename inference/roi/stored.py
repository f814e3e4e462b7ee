"""Stored regions of interest, and which of several stands for a lesion. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from egfr_dls.study import RoiSource
from egfr_dls.volume import Mask, Volume

SHOWN_CHARACTERS = 64  # of a header's text that a message or the report shows: the longest LO (PS3.5 6.2)
JUDGED_CHARACTERS = 1024  # of a label that the tumour rules see
INTERPRETED_TYPE = "RT ROI Interpreted Type"  # scheme of the concept that stands for (3006,00A4)


def shown(value: str) -> str:
    """Return a header's text as messages and reports show it: one line, at most as long as an LO."""
    line = " ".join("".join(c if c.isprintable() else " " for c in value[:JUDGED_CHARACTERS]).split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


@dataclass(frozen=True)
class CodedConcept:
    """A coded entry: Code Value (0008,0100), Coding Scheme Designator (0008,0102), Code Meaning (0008,0104)."""

    value: str
    scheme: str
    meaning: str


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


@dataclass(frozen=True)
class Origin:
    """Who or what made a region.

    Parameters
    ----------
    person
        Content Creator's Name (0070,0084), ROI Interpreter (3006,00A6) or Operators' Name (0008,1070); a name of staff,
        for findings and reports, never for logs; empty where none is stated
    algorithm
        Segment Algorithm Type and Name (0062,0008), (0062,0009), or ROI Generation Algorithm (3006,0036)
    software
        manufacturer, model and version of the product that wrote the object
    by_person
        false where software alone made it and nobody approved it
    """

    person: str = ""
    algorithm: str = ""
    software: str = ""
    by_person: bool = True

    @property
    def who(self) -> str:
        """The person; where none is stated, the software."""
        return self.person or self.software


@dataclass(frozen=True, kw_only=True)
class RoiFacts:
    """What the header of a SEG or RTSTRUCT says of one region.

    Parameters
    ----------
    label
        Segment Label (0062,0005) or ROI Name (3006,0026)
    number
        Segment Number (0062,0004) or ROI Number (3006,0022)
    content_datetime
        Content Date and Time (0008,0023), (0008,0033), or Structure Set Date and Time (3006,0008), (3006,0009); else
        Instance Creation Date and Time (0008,0012), (0008,0013)
    tracking_uid
        Tracking UID (0062,0021)
    concepts
        category and type of a segment; identification codes and interpreted type of a structure
    reference
        the images it was drawn on; each ROI of an RTSTRUCT may have a frame of reference of its own (3006,0024)
    hollow
        why nothing can be scored in it ("has no closed contour ..."); empty where something may be
    utc_offset
        Timezone Offset From UTC (0008,0201), in which ``content_datetime`` is written; None where it is not stated
    """

    label: str
    number: int
    source: RoiSource
    sop_instance_uid: str
    sop_class_uid: str
    content_datetime: datetime | None
    tracking_uid: str | None
    concepts: tuple[CodedConcept, ...]
    reference: Reference
    origin: Origin = Origin()
    hollow: str = ""
    utc_offset: timedelta | None = None

    @property
    def name(self) -> str:
        """How a message names the region."""
        kind, word = ("SEG", "segment") if self.source is RoiSource.STORED_SEG else ("RTSTRUCT", "ROI")
        return f"{word} {self.number} {shown(self.label)!r} of {kind} {self.sop_instance_uid}"


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredRoi(RoiFacts):
    """A stored region as voxels: ``mask`` is bool ``[z, y, x]`` on the grid it was read for, read-only.

    ``method`` says how the voxels were found (threshold, nearest neighbour), empty where they are the stored ones.
    """

    mask: Mask
    method: str = ""

    def __post_init__(self) -> None:
        self.mask.setflags(write=False)


SAME_LESION_OVERLAP = 0.5  # of the smaller of two regions


@dataclass(frozen=True, eq=False)
class StoredLesion:
    """The region that stands for a lesion, and the other regions of the same lesion."""

    roi: StoredRoi
    instead_of: tuple[StoredRoi, ...] = ()


def one_per_lesion(rois: Sequence[StoredRoi]) -> tuple[StoredLesion, ...]:
    """Return one region for each lesion: a person's before software's, then the newer content date, then SEG before
    RTSTRUCT, then the larger.

    Dates are compared in UTC where each states its offset, else all as written: dates of both kinds have no order.
    All masks are on one grid. Two regions are one lesion when they share half of the smaller, or when two objects give
    them one Tracking UID: a corrected region may lie elsewhere.
    """
    in_utc = all(roi.utc_offset is not None for roi in rois if roi.content_datetime)
    lesions: list[StoredLesion] = []
    for roi in sorted(rois, key=lambda roi: _preference(roi, in_utc=in_utc), reverse=True):
        for i, lesion in enumerate(lesions):
            if _same_lesion(roi, lesion.roi):
                lesions[i] = StoredLesion(lesion.roi, (*lesion.instead_of, roi))
                break
        else:
            lesions.append(StoredLesion(roi))
    return tuple(lesions)


def share_outside(roi: StoredRoi, taken: Sequence[StoredRoi]) -> float:
    """Return which share of a region's voxels lies outside all of those taken; the region has a voxel."""
    covered = np.logical_or.reduce([other.mask for other in taken])
    return float(np.count_nonzero(roi.mask & ~covered) / np.count_nonzero(roi.mask))


def _preference(roi: StoredRoi, *, in_utc: bool) -> tuple[bool, timedelta, bool, int, int, str]:
    return (
        roi.origin.by_person,
        _age(roi.content_datetime, roi.utc_offset if in_utc else None),
        roi.source is RoiSource.STORED_SEG,
        int(np.count_nonzero(roi.mask)),
        -roi.number,
        roi.sop_instance_uid,
    )


def _age(when: datetime | None, utc_offset: timedelta | None) -> timedelta:
    """Return a moment as the time since the calendar's beginning, which no offset leaves; undated is before all."""
    if when is None:
        return timedelta.min
    return when - datetime.min - (utc_offset or timedelta())  # noqa: DTZ901  # header times have no zone


def _same_lesion(a: StoredRoi, b: StoredRoi) -> bool:
    if a.tracking_uid and a.tracking_uid == b.tracking_uid and a.sop_instance_uid != b.sop_instance_uid:
        return True
    return _overlap(a.mask, b.mask) >= SAME_LESION_OVERLAP


def _overlap(a: Mask, b: Mask) -> float:
    smaller = min(np.count_nonzero(a), np.count_nonzero(b))
    return float(np.count_nonzero(a & b) / smaller) if smaller else 0.0
