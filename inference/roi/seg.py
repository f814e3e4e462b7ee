"""Segmentation objects as masks on a grid (PS3.3 A.51, C.8.20.2; label maps: A.51 and C.8.20.2.3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import RE_VALID_UID, UID

from egfr_dls.study import RoiSource
from egfr_dls.volume import Mask, Volume
from inference.imaging.resample import mask_onto
from inference.read.header import integer, number, text, unreadable, where
from inference.roi.header import (
    concepts_of,
    datetime_of,
    found,
    person_of,
    reference_of,
    require_reference,
    required_integer,
    required_items,
    software_of,
    unplaced,
    utc_offset_of,
)
from inference.roi.seg_frames import Frames, frames_of, segmentation_type
from inference.roi.stored import JUDGED_CHARACTERS, Origin, RoiFacts, StoredRoi, shown

SEGMENTATION_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
FRACTION_THRESHOLD = 0.5  # of MaximumFractionalValue (0062,000E), probability and occupancy alike
LONGEST_UID = 64  # PS3.5 9.1
DATES = (("ContentDate", "ContentTime"), ("InstanceCreationDate", "InstanceCreationTime"))


def segment_facts(seg: Dataset) -> tuple[RoiFacts, ...]:
    """Return what the header says of each segment; the background of a label map (number 0) is none."""
    described = [_facts(seg, item) for item in required_items(seg, "SegmentSequence", seg)]
    return tuple(facts for facts in described if facts.number > 0)


def segment_masks(seg: Dataset, grid: Volume, wanted: Collection[int] | None = None) -> tuple[StoredRoi, ...]:
    """Return the segments as bool ``[z, y, x]`` masks on the grid of a volume.

    BINARY, FRACTIONAL (at or above half of the maximum) and LABELMAP. Frames are placed by their own Image Position
    (Patient) (0020,0032): pixel by pixel where they lie on the grid's lattice, by nearest neighbour otherwise. What lies
    outside the grid is cut.

    Parameters
    ----------
    seg
        Segmentation or Label Map Segmentation, with pixels
    grid
        the PET or CT
    wanted
        Segment Numbers (0062,0004); None: all

    Raises
    ------
    StudyRefusedError
        ``ROI_REFERENCE_MISSING`` (other images), ``GEOMETRY_MISMATCH`` (frames without a place),
        ``PIXELS_UNREADABLE`` (no decoder, or damaged pixels)
    """
    require_reference(seg, reference_of(seg), grid)
    segments = [f for f in segment_facts(seg) if wanted is None or f.number in wanted]
    kind = segmentation_type(seg)
    frames = frames_of(seg, label_map=kind == "LABELMAP")
    offsets = frames.lattice_offsets(grid.geometry)
    own = frames.own_grid() if offsets is None else None
    # On the lattice a frame goes to its place on the grid; otherwise into the object's own grid, which is then carried.
    shape = grid.geometry.shape if own is None else own.geometry.shape
    places = offsets if own is None else own.places
    masks = {facts.number: np.zeros(shape, dtype=np.bool_) for facts in segments}
    held: set[int] = set()
    for index, segment, pixels in _segment_frames(seg, frames, masks, kind):
        held.add(segment)
        _paste(masks[segment], pixels, places[index])  # type: ignore[index]  # one of the two is set
    ways = [_threshold_text(seg)] if kind == "FRACTIONAL" else []
    ways += [] if own is None else ["carried by nearest neighbour"]
    return tuple(
        StoredRoi(
            **vars(facts if facts.number in held else replace(facts, hollow=_hollow(len(frames.positions)))),
            mask=masks[facts.number] if own is None else mask_onto(masks[facts.number], own.geometry, grid.geometry),
            method=", ".join(ways),
        )
        for facts in segments
    )


def _facts(seg: Dataset, item: Dataset) -> RoiFacts:
    algorithm = text(item, "SegmentAlgorithmType")
    name = shown(text(item, "SegmentAlgorithmName"))
    return RoiFacts(
        label=text(item, "SegmentLabel")[:JUDGED_CHARACTERS],
        number=required_integer(item, "SegmentNumber", seg),
        source=RoiSource.STORED_SEG,
        sop_instance_uid=text(seg, "SOPInstanceUID"),
        sop_class_uid=text(seg, "SOPClassUID"),
        content_datetime=datetime_of(seg, *DATES),
        utc_offset=utc_offset_of(seg),
        tracking_uid=_tracking_uid(item),
        concepts=concepts_of(item, "SegmentedPropertyTypeCodeSequence", "SegmentedPropertyCategoryCodeSequence"),
        reference=reference_of(seg),
        origin=Origin(
            person=person_of(seg, "ContentCreatorName"),
            algorithm=f"{shown(algorithm)} {name}".strip(),
            software=software_of(seg),
            by_person=algorithm != "AUTOMATIC",
        ),
    )


def _tracking_uid(segment: Dataset) -> str | None:
    """Return Tracking UID (0062,0021), if it is a UID: it goes into the report."""
    uid = text(segment, "TrackingUID")
    return uid if len(uid) <= LONGEST_UID and re.fullmatch(RE_VALID_UID, uid) else None


def _hollow(frames: int) -> str:
    return f"has no pixel in any of the {frames} frames: ReferencedSegmentNumber (0062,000B) and pixels name other segments"


def _maximum(seg: Dataset) -> int:
    """Return Maximum Fractional Value (0062,000E); 255 where it is not stated."""
    value = integer(seg, "MaximumFractionalValue") if text(seg, "MaximumFractionalValue") else 255
    if value is None or not 1 <= value <= 255:
        raise unplaced(seg, f"{found(seg, 'MaximumFractionalValue')}, needed 1 to 255")
    return value


def _threshold_text(seg: Dataset) -> str:
    kind = shown(text(seg, "SegmentationFractionalType")).lower() or "fraction"
    return f"at or above {FRACTION_THRESHOLD:g} of the maximum {kind}"


def _segment_frames(
    seg: Dataset, frames: Frames, wanted: Collection[int], kind: str
) -> Iterator[tuple[int, int, Mask]]:
    """Yield (frame index, segment number, bool ``[rows, columns]``), decoding only the frames that are wanted."""
    least = FRACTION_THRESHOLD * _maximum(seg) if kind == "FRACTIONAL" else 1
    needed = [i for i in range(len(frames.positions)) if frames.segments is None or frames.segments[i] in wanted]
    for i, pixels in _decoded(seg, frames, needed):
        if frames.segments is None:
            yield from ((i, n, pixels == n) for n in np.unique(pixels).tolist() if n in wanted)
        else:
            yield i, frames.segments[i], pixels >= least


def _decoded(seg: Dataset, frames: Frames, needed: list[int]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (frame index, pixels ``[rows, columns]``) of some frames.

    Raises
    ------
    StudyRefusedError
        ``PIXELS_UNREADABLE``: fewer bytes than the header claims, no decoder, or damaged
    """
    if not needed:
        return
    _enough_bytes(seg, frames)
    try:
        for i, pixels in zip(needed, iter_pixels(seg, raw=True, indices=needed), strict=True):
            yield i, pixels.reshape(frames.rows_columns)
    except Exception as error:  # noqa: BLE001  # hostile bytes make decoders raise anything, RecursionError included
        raise unreadable(seg, where("PixelData"), error) from None


def _enough_bytes(seg: Dataset, frames: Frames) -> None:
    """Refuse pixels that are shorter than Rows, Columns and Number of Frames claim, before any memory is taken."""
    syntax = UID(text(getattr(seg, "file_meta", Dataset()), "TransferSyntaxUID"))
    if not syntax.is_transfer_syntax or syntax.is_encapsulated:
        return  # each frame's own stream says its size; the decoder compares
    bits = number(seg, "BitsAllocated") or 0
    rows, columns = frames.rows_columns
    claimed = int(len(frames.positions) * rows * columns * bits + 7) // 8
    held = len(seg.get("PixelData") or b"")
    if held < claimed:
        what = f"{where('PixelData')} of {held} bytes where {len(frames.positions)} frames of {rows} x {columns} need {claimed}"
        raise unreadable(seg, what, ValueError())


def _paste(mask: Mask, pixels: Mask, offset: NDArray[np.int64]) -> None:
    """Join a frame into the mask at (z, y, x); what lies outside is cut."""
    z, top, left = (int(v) for v in offset)
    if not 0 <= z < mask.shape[0]:
        return
    rows, columns = pixels.shape
    y = slice(max(top, 0), min(top + rows, mask.shape[1]))
    x = slice(max(left, 0), min(left + columns, mask.shape[2]))
    if y.start < y.stop and x.start < x.stop:
        mask[z, y, x] |= pixels[y.start - top : y.stop - top, x.start - left : x.stop - left]
