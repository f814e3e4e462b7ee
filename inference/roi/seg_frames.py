"""Where the frames of a Segmentation lie (PS3.3 C.7.6.16), checked before any pixel takes memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from egfr_dls.volume import Geometry
from inference.read.header import integer, items, number, numbers, text, where
from inference.roi.header import found, required, required_integer, required_items, unplaced

SAME_LATTICE = 0.25  # voxels; nearest neighbour gives the stored pixel itself below 0.5
# What an object may claim. A whole body has about 2,000 slices of 512 x 512, and a segment on each is a frame.
MOST_FRAMES = 200_000
MOST_FRAME_PIXELS = 2**26  # 8192 x 8192
MOST_VOXELS = 2**31  # of the grid that the frames make by themselves
FARTHEST_MM = 1e5  # of a frame from the origin of the frame of reference
UNIT_TOLERANCE = 1e-3  # of the length and the scalar product of direction cosines


@dataclass(frozen=True, eq=False)
class OwnGrid:
    """The grid that the frames themselves make; ``places`` are integer ``[frame, 3]`` offsets (z, y, x) on it."""

    geometry: Geometry
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Frames:
    """Where the frames lie: one orientation, one pixel size, a position each (LPS mm).

    ``positions`` is float64 ``[frame, 3]``; ``axes`` has rows along_x, along_y (unit vectors); ``spacing_mm`` is (row
    spacing, column spacing) as Pixel Spacing (0028,0030); ``step_mm`` the distance of slices, if stated;
    ``segments`` the Segment Number of each frame, None in a label map.
    """

    seg: Dataset
    rows_columns: tuple[int, int]
    positions: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    step_mm: float | None
    segments: tuple[int, ...] | None

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

    def own_grid(self) -> OwnGrid:
        """Return the regular grid that the frames make by themselves."""
        first = self.positions[np.argmin(self.positions @ self.normal)]
        heights = (self.positions - first) @ self.normal
        gaps = np.diff(np.unique(heights.round(3)))
        smallest = float(gaps.min()) if gaps.size else 1.0
        stated = self.step_mm or smallest  # Slice Thickness, where it stands for the spacing, may be another number
        step = stated if _off_grid(heights, stated) <= SAME_LATTICE and smallest >= 0.5 * stated else smallest
        indices = np.rint(heights / step)
        sideways = np.abs((self.positions - first) @ self.axes.T).max()
        if _off_grid(heights, step) > SAME_LATTICE or sideways > 0.5 * min(self.spacing_mm):
            raise unplaced(
                self.seg,
                f"{where('ImagePositionPatient')} of its frames make no regular grid (step {step:.3f} mm, "
                f"{sideways:.2f} mm sideways), and they do not meet the voxels of the image",
            )
        shape = (int(indices.max()) + 1, *self.rows_columns)
        if (voxels := shape[0] * shape[1] * shape[2]) > MOST_VOXELS:
            raise unplaced(
                self.seg, f"its frames span a grid of {voxels:.2g} voxels, at most {MOST_VOXELS:.2g} are read"
            )
        places = np.zeros((len(self.positions), 3), dtype=np.int64)
        places[:, 0] = indices
        geometry = Geometry(
            shape=shape,
            origin_mm=(float(first[0]), float(first[1]), float(first[2])),
            spacing_mm=(step, *self.spacing_mm),
            direction=tuple(tuple(map(float, v)) for v in (*self.axes, self.normal)),  # type: ignore[arg-type]  # 3 x 3
        )
        return OwnGrid(geometry, places)


def _off_grid(heights: NDArray[np.float64], step: float) -> float:
    """Return how far the farthest frame is from a multiple of the step, in steps."""
    return float(np.abs(heights / step - np.rint(heights / step)).max())


def frames_of(seg: Dataset, *, label_map: bool) -> Frames:
    """Read the functional groups, shared or per frame.

    Raises
    ------
    StudyRefusedError
        ``GEOMETRY_MISMATCH``: a frame without a place or a segment, fewer or more places than frames, or sizes that no
        patient has
    """
    rows_columns = _rows_columns(seg)
    groups = _per_frame(seg)
    orientations = {_numbers(g, "PlaneOrientationSequence", "ImageOrientationPatient", 6) for g in groups}
    spacings = {_numbers(g, "PixelMeasuresSequence", "PixelSpacing", 2) for g in groups}
    if len(orientations) != 1 or len(spacings) != 1:
        raise unplaced(
            seg, f"frames of {len(orientations)} orientations and {len(spacings)} pixel spacings, needed one"
        )
    row_spacing, column_spacing = spacings.pop()
    if min(row_spacing, column_spacing) <= 0:
        raise unplaced(seg, f"{where('PixelSpacing')} is {row_spacing:g}\\{column_spacing:g}, needed two above 0")
    return Frames(
        seg=seg,
        rows_columns=rows_columns,
        positions=_positions(seg, groups),
        axes=_axes(seg, orientations.pop()),
        spacing_mm=(row_spacing, column_spacing),
        step_mm=_step_mm(groups[0]),
        segments=None if label_map else tuple(_segment(g) for g in groups),
    )


def _rows_columns(seg: Dataset) -> tuple[int, int]:
    rows, columns = required_integer(seg, "Rows", seg), required_integer(seg, "Columns", seg)
    if min(rows, columns) < 1 or rows * columns > MOST_FRAME_PIXELS:
        raise unplaced(
            seg, f"{found(seg, 'Rows')}, {found(seg, 'Columns')}, needed 1 to {MOST_FRAME_PIXELS:.2g} pixels a frame"
        )
    return rows, columns


@dataclass(frozen=True)
class _FrameGroups:
    """The functional groups of one frame, completed by the shared ones."""

    seg: Dataset
    frame: Dataset
    shared: tuple[Dataset, ...]

    def item(self, sequence: str, keyword: str) -> Dataset:
        """Return the item of a sequence that holds the element; an empty one where no item does."""
        for groups in (self.frame, *self.shared):
            for item in items(groups, sequence):
                if keyword in item:
                    return item
        return Dataset()


def _per_frame(seg: Dataset) -> list[_FrameGroups]:
    per_frame = required_items(seg, "PerFrameFunctionalGroupsSequence", seg)
    claimed = integer(seg, "NumberOfFrames")
    if claimed != len(per_frame) or len(per_frame) > MOST_FRAMES:
        raise unplaced(
            seg,
            f"{found(seg, 'NumberOfFrames')} and {where('PerFrameFunctionalGroupsSequence')} has {len(per_frame)} items, "
            f"needed an item for each frame, at most {MOST_FRAMES}",
        )
    shared = items(seg, "SharedFunctionalGroupsSequence")
    return [_FrameGroups(seg, frame, shared) for frame in per_frame]


def _numbers(groups: _FrameGroups, sequence: str, keyword: str, count: int) -> tuple[float, ...]:
    item = groups.item(sequence, keyword)
    needed = f"{count} numbers in {sequence}, shared or per frame"
    return required(numbers(item, keyword, count), item, keyword, groups.seg, needed)


def _segment(groups: _FrameGroups) -> int:
    item = groups.item("SegmentIdentificationSequence", "ReferencedSegmentNumber")
    return required_integer(item, "ReferencedSegmentNumber", groups.seg)


def _positions(seg: Dataset, groups: list[_FrameGroups]) -> NDArray[np.float64]:
    positions = np.array([_numbers(g, "PlanePositionSequence", "ImagePositionPatient", 3) for g in groups])
    if (farthest := float(np.abs(positions).max())) > FARTHEST_MM:
        raise unplaced(
            seg, f"{where('ImagePositionPatient')} is {farthest:.3g} mm away, needed {FARTHEST_MM:g} or less"
        )
    return positions


def _axes(seg: Dataset, cosines: tuple[float, ...]) -> NDArray[np.float64]:
    axes = np.array(cosines).reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > UNIT_TOLERANCE:
        value = "\\".join(f"{v:g}" for v in cosines)
        raise unplaced(seg, f"{where('ImageOrientationPatient')} is {value}, needed two unit vectors at a right angle")
    return axes


def _step_mm(groups: _FrameGroups) -> float | None:
    """Return Spacing Between Slices (0018,0088), else Slice Thickness (0018,0050); None where neither is above 0."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = number(groups.item("PixelMeasuresSequence", keyword), keyword)
        if value is not None and value > 0:
            return value
    return None


def segmentation_type(seg: Dataset) -> str:
    """Return Segmentation Type (0062,0001): BINARY, FRACTIONAL or LABELMAP (PS3.3 C.8.20.2.3)."""
    kind = text(seg, "SegmentationType")
    if kind not in {"BINARY", "FRACTIONAL", "LABELMAP"}:
        raise unplaced(seg, f"{found(seg, 'SegmentationType')}, needed BINARY, FRACTIONAL or LABELMAP")
    return kind
