"""Segmentation objects as masks on a grid (PS3.3 A.51, C.8.20.2; label maps: A.51 and C.8.20.2.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.study import RoiSource
from egfr_dls.volume import Geometry, Mask, Volume
from inference.imaging.resample import mask_onto
from inference.roi.header import (
    concepts_of,
    creator_of,
    datetime_of,
    numbers,
    object_name,
    reference_of,
    require_reference,
    required,
    unplaced,
)
from inference.roi.stored import RoiFacts, StoredRoi

SEGMENTATION_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
FRACTION_THRESHOLD = 0.5  # of MaximumFractionalValue (0062,000E)
SAME_LATTICE = 0.25  # voxels; nearest neighbour gives the stored pixel itself below 0.5


def segment_facts(seg: Dataset) -> tuple[RoiFacts, ...]:
    """Return what the header says of each segment; the background of a label map (number 0) is none."""
    return tuple(
        _facts(seg, item)
        for item in required(seg, "SegmentSequence", seg)
        if int(required(item, "SegmentNumber", seg)) > 0
    )


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
    require_reference(seg, grid)
    segments = [f for f in segment_facts(seg) if wanted is None or f.number in wanted]
    frames = _Frames.of(seg)
    offsets = frames.lattice_offsets(grid.geometry)
    own = None if offsets is not None else frames.own_grid()
    # On the lattice a frame goes to its place on the grid; otherwise into the object's own grid, which is then carried.
    shape = grid.geometry.shape if own is None else own.geometry.shape
    places = offsets if own is None else own.places
    masks = {facts.number: np.zeros(shape, dtype=np.bool_) for facts in segments}
    for index, number, pixels in _segment_frames(seg, frames, masks):
        _paste(masks[number], pixels, places[index])  # type: ignore[index]  # one of the two is set
    threshold = f"at or above {FRACTION_THRESHOLD:g} of the maximum fraction"
    carried = "carried by nearest neighbour"
    fractional = str(seg.SegmentationType) == "FRACTIONAL"
    method = ", ".join(m for m, is_so in ((threshold, fractional), (carried, own is not None)) if is_so)
    return tuple(
        StoredRoi(
            **vars(facts),
            mask=masks[facts.number] if own is None else mask_onto(masks[facts.number], own.geometry, grid.geometry),
            method=method,
        )
        for facts in segments
    )


def _facts(seg: Dataset, item: Dataset) -> RoiFacts:
    tracking_uid = item.get("TrackingUID")
    algorithm = " ".join(str(item.get(k) or "") for k in ("SegmentAlgorithmType", "SegmentAlgorithmName")).strip()
    return RoiFacts(
        label=str(item.get("SegmentLabel", "")),
        number=int(required(item, "SegmentNumber", seg)),
        source=RoiSource.STORED_SEG,
        sop_instance_uid=str(seg.SOPInstanceUID),
        sop_class_uid=str(seg.SOPClassUID),
        content_datetime=datetime_of(seg, "ContentDate", "ContentTime"),
        tracking_uid=str(tracking_uid) if tracking_uid else None,
        concepts=concepts_of(item, "SegmentedPropertyTypeCodeSequence", "SegmentedPropertyCategoryCodeSequence"),
        referenced_series_uids=reference_of(seg).series_uids,
        creator=creator_of(seg, algorithm),
    )


@dataclass(frozen=True, eq=False)
class _OwnGrid:
    """The grid that the frames themselves make; ``places`` are integer ``[frame, 3]`` offsets (z, y, x) on it."""

    geometry: Geometry
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Frames:
    """Where the frames lie: one orientation, one pixel size, a position each (LPS mm).

    ``positions`` is float64 ``[frame, 3]``; ``axes`` has rows along_x, along_y (unit vectors); ``spacing_mm`` is (row
    spacing, column spacing) as Pixel Spacing (0028,0030); ``step_mm`` the distance of slices, if stated;
    ``segments`` the Segment Number of each frame, None in a label map.
    """

    name: str
    rows_columns: tuple[int, int]
    positions: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    step_mm: float | None
    segments: tuple[int, ...] | None

    @staticmethod
    def of(seg: Dataset) -> _Frames:
        """Read the functional groups (PS3.3 C.7.6.16), shared or per frame."""
        items = [_FrameGroups(seg, item) for item in required(seg, "PerFrameFunctionalGroupsSequence", seg)]
        orientations = {f.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6) for f in items}
        spacings = {f.numbers("PixelMeasuresSequence", "PixelSpacing", 2) for f in items}
        if len(orientations) != 1 or len(spacings) != 1:
            raise unplaced(seg, f"frames of {len(orientations)} orientations and {len(spacings)} pixel spacings")
        row_spacing, column_spacing = spacings.pop()
        step = items[0].optional("PixelMeasuresSequence", "SpacingBetweenSlices")
        thickness = items[0].optional("PixelMeasuresSequence", "SliceThickness")
        is_label_map = str(required(seg, "SegmentationType", seg)) == "LABELMAP"
        positions = [f.numbers("PlanePositionSequence", "ImagePositionPatient", 3) for f in items]
        return _Frames(
            name=object_name(seg),
            rows_columns=(int(required(seg, "Rows", seg)), int(required(seg, "Columns", seg))),
            positions=np.array(positions),
            axes=np.array(orientations.pop()).reshape(2, 3),
            spacing_mm=(row_spacing, column_spacing),
            step_mm=float(step or thickness) if step or thickness else None,
            segments=None if is_label_map else tuple(f.segment for f in items),
        )

    @cached_property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector from slice to slice."""
        return np.cross(self.axes[0], self.axes[1])

    def lattice_offsets(self, grid: Geometry) -> NDArray[np.int64] | None:
        """Return the integer offset (z, y, x) of each frame on the grid; None where pixels do not meet voxels."""
        rows, columns = self.rows_columns
        steps = np.array([(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)], dtype=float)
        spacing = np.array([self.spacing_mm[1], self.spacing_mm[0]])
        corners = self.positions[:, None, :] + (steps * spacing) @ self.axes
        to_index = np.linalg.inv(grid.index_to_mm)
        indices = corners @ to_index[:3, :3].T + to_index[:3, 3]
        offsets = np.rint(indices[:, :1])
        away = indices - offsets - np.pad(steps, ((0, 0), (0, 1)))
        if np.abs(away).max() >= SAME_LATTICE:
            return None
        places: NDArray[np.int64] = offsets[:, 0, ::-1].astype(np.int64)
        return places

    def own_grid(self) -> _OwnGrid:
        """Return the regular grid that the frames make by themselves."""
        first = self.positions[np.argmin(self.positions @ self.normal)]
        heights = (self.positions - first) @ self.normal
        gaps = np.diff(np.unique(heights.round(3)))
        step = self.step_mm or (float(gaps.min()) if gaps.size else 1.0)
        step = float(gaps.min()) if gaps.size and gaps.min() < 0.5 * step else step
        indices = np.rint(heights / step)
        sideways = np.abs((self.positions - first) @ self.axes.T).max()
        if np.abs(heights / step - indices).max() > SAME_LATTICE or sideways > 0.5 * min(self.spacing_mm):
            raise StudyRefusedError(
                RefusalCode.GEOMETRY_MISMATCH,
                f"{self.name}: ImagePositionPatient (0020,0032) of its frames make no regular grid "
                f"(step {step:.3f} mm, {sideways:.2f} mm sideways), and they do not meet the voxels of the image",
            )
        places = np.zeros((len(self.positions), 3), dtype=np.int64)
        places[:, 0] = indices
        geometry = Geometry(
            shape=(int(indices.max()) + 1, *self.rows_columns),
            origin_mm=(float(first[0]), float(first[1]), float(first[2])),
            spacing_mm=(step, *self.spacing_mm),
            direction=tuple(tuple(map(float, v)) for v in (*self.axes, self.normal)),  # type: ignore[arg-type]  # 3 x 3
        )
        return _OwnGrid(geometry, places)


@dataclass(frozen=True)
class _FrameGroups:
    """The functional groups of one frame, completed by the shared ones."""

    seg: Dataset
    frame: Dataset

    def optional(self, sequence: str, keyword: str) -> Any:
        """Return a value; None where neither the frame nor the shared groups have it."""
        shared = self.seg.get("SharedFunctionalGroupsSequence") or ()
        for groups in (self.frame, *shared):
            for item in groups.get(sequence) or ():
                if item.get(keyword) is not None:
                    return item[keyword].value
        return None

    def numbers(self, sequence: str, keyword: str, count: int) -> tuple[float, ...]:
        """Return the numbers without which the frame has no place."""
        found = self.optional(sequence, keyword)
        if found is None:
            raise unplaced(self.seg, f"no {keyword} in {sequence}, neither shared nor per frame")
        return numbers(found, count, keyword, self.seg)

    @property
    def segment(self) -> int:
        """The frame's Segment Number."""
        found = self.optional("SegmentIdentificationSequence", "ReferencedSegmentNumber")
        if found is None:
            raise unplaced(self.seg, "a frame without ReferencedSegmentNumber (0062,000B)")
        return int(found)


def _segment_frames(seg: Dataset, frames: _Frames, wanted: Collection[int]) -> Iterator[tuple[int, int, Mask]]:
    """Yield (frame index, segment number, bool ``[rows, columns]``), decoding only the frames that are wanted."""
    fractional = str(seg.SegmentationType) == "FRACTIONAL"
    least = FRACTION_THRESHOLD * float(seg.get("MaximumFractionalValue") or 255) if fractional else 1
    needed = [i for i in range(len(frames.positions)) if frames.segments is None or frames.segments[i] in wanted]
    if not needed:
        return
    try:
        for i, pixels in zip(needed, iter_pixels(seg, raw=True, indices=needed), strict=True):
            if frames.segments is None:
                yield from ((i, number, pixels == number) for number in np.unique(pixels).tolist() if number in wanted)
            else:
                yield i, frames.segments[i], pixels >= least
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, ValueError) as error:
        syntax = seg.file_meta.TransferSyntaxUID.name
        raise StudyRefusedError(
            RefusalCode.PIXELS_UNREADABLE,
            f"{object_name(seg)}: PixelData (7FE0,0010) in {syntax} cannot be read: {error}",
        ) from error


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
