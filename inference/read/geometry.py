"""The grid that a series' slices form, checked on headers alone: no pixel memory is taken for a stack that is none.

References
----------
PS3.3 C.7.6.2.1.1: Image Position (Patient) is the centre of the first pixel; Image Orientation (Patient) has the
directions in which the column and then the row index grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import FloatVolume, Geometry, Mask, Unit, Volume
from inference.read.header import integer, number, numbers, text, where, written
from inference.read.series import SeriesImages

POSITION_TOLERANCE_MM = 0.1  # headers round positions to 0.01 mm, and contour planes lie up to 0.04 mm off
ORIENTATION_TOLERANCE = 1e-3  # of a unit vector's components; 0.5 mm over a field of 500 mm
MAX_VOXELS = 2**30  # 4 GiB of float32; a whole body of 1,000 slices of 512 x 512 is a quarter
MAX_ROWS_COLUMNS = 4096  # the finest CT has 2048
# Grids beyond ask for more memory than their voxels once they are carried to another grid.
SPACING_MM = (0.05, 50.0)
MAX_PLANE_MM, MAX_STACK_MM = 1500.0, 3000.0  # the widest bore is 900 mm, the tallest patient below 2.5 m
FARTHEST_MM = 1e5  # of a position from the origin
LONGEST_QUOTE = 80

# What every slice of a stack has once (PS3.3 C.7.6.3, C.7.6.2); checked before positions are looked at.
SHARED = ("Rows", "Columns", "PixelSpacing", "FrameOfReferenceUID", "SOPClassUID")


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of a series in ascending order along the slice normal, and their grid."""

    datasets: tuple[Dataset, ...]
    geometry: Geometry

    def volume(self, series: SeriesImages, voxels: FloatVolume, unit: Unit, padding: Mask | None = None) -> Volume:
        """Return the decoded slices as a volume.

        Raises
        ------
        StudyRefusedError
            ``PIXELS_UNREADABLE``: a voxel is not finite
        """
        if not np.isfinite(voxels).all():
            raise StudyRefusedError(
                RefusalCode.PIXELS_UNREADABLE,
                f"series {series.series_instance_uid}: stored values times {where('RescaleSlope')} leave the range of "
                f"float32. Needed: a slope that gives {unit} values.",
            )
        return Volume(
            voxels=voxels,
            geometry=self.geometry,
            unit=unit,
            series_instance_uid=series.series_instance_uid,
            frame_of_reference_uid=series.frame_of_reference_uid,
            sop_instance_uids=tuple(text(ds, "SOPInstanceUID") for ds in self.datasets),
            padding=padding,
        )


def stack_of(series: SeriesImages) -> Stack:
    """Return the regular grid of a series.

    Raises
    ------
    StudyRefusedError
        ``GEOMETRY_MISMATCH``: a value is missing, no number or no length of a scanner, slices differ, or positions have
        gaps, duplicates or a tilt; ``PIXELS_UNREADABLE``: more voxels than the product reads, or not one grey sample a pixel
    """
    first = series.datasets[0]
    _one_value(series)
    rows, columns = _size(first)
    _grey(series.datasets)
    spacing_y, spacing_x = _pixel_spacing(first)
    direction = _direction(series.datasets)
    positions = np.array([_position(ds) for ds in series.datasets])
    along = positions @ direction[2]
    order = np.argsort(along, kind="stable")
    datasets = tuple(series.datasets[i] for i in order)
    spacing_z = _slice_spacing(datasets, along[order])
    _no_tilt(datasets, positions[order], direction)
    shape = (len(datasets), rows, columns)
    _fits_a_scanner(datasets[0], shape, (spacing_z, spacing_y, spacing_x))
    if np.prod(shape, dtype=np.int64) > MAX_VOXELS:
        raise StudyRefusedError(
            RefusalCode.PIXELS_UNREADABLE,
            f"series {series.series_instance_uid} has {shape} voxels. Needed: at most {MAX_VOXELS}.",
        )
    x, y, z = (tuple(float(v) for v in vector) for vector in direction)
    origin = tuple(float(v) for v in positions[order[0]])
    geometry = Geometry(shape, origin, (spacing_z, spacing_y, spacing_x), (x, y, z))  # type: ignore[arg-type]  # 3 each
    return Stack(datasets, geometry)


def _mismatch(found: str, needed: str) -> StudyRefusedError:
    return StudyRefusedError(RefusalCode.GEOMETRY_MISMATCH, f"{found}. Needed: {needed}.")


def _found(ds: Dataset, keyword: str) -> str:
    value = written(ds, keyword)
    quoted = repr(value[:LONGEST_QUOTE]) if value else "missing"
    return f"{where(keyword)} is {quoted} in instance {text(ds, 'SOPInstanceUID')}"


def _one_value(series: SeriesImages) -> None:
    first = series.datasets[0]
    for keyword in SHARED:
        for ds in series.datasets:
            if _comparable(ds, keyword) != _comparable(first, keyword):
                raise _mismatch(
                    f"series {series.series_instance_uid}: {_found(first, keyword)}, but {_found(ds, keyword)}",
                    "one value in all slices",
                )


def _comparable(ds: Dataset, keyword: str) -> object:
    return numbers(ds, keyword, 2) if keyword == "PixelSpacing" else written(ds, keyword)


def _size(ds: Dataset) -> tuple[int, int]:
    rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
    for keyword, value in (("Rows", rows), ("Columns", columns)):
        if not value or value < 0:
            raise _mismatch(_found(ds, keyword), "a number above 0")
        if value > MAX_ROWS_COLUMNS:
            raise StudyRefusedError(
                RefusalCode.PIXELS_UNREADABLE, f"{_found(ds, keyword)}. Needed: at most {MAX_ROWS_COLUMNS}."
            )
    return rows or 0, columns or 0


def _grey(datasets: Sequence[Dataset]) -> None:
    for ds in datasets:
        for keyword in ("SamplesPerPixel", "NumberOfFrames"):
            if integer(ds, keyword) not in (None, 1):
                raise StudyRefusedError(RefusalCode.PIXELS_UNREADABLE, f"{_found(ds, keyword)}. Needed: 1.")


def _fits_a_scanner(ds: Dataset, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
    """Refuse a grid whose lengths no scanner has: carried to cubes of a few mm, it would fill the memory."""
    keywords = ("ImagePositionPatient" if shape[0] > 1 else "SliceThickness", "PixelSpacing", "PixelSpacing")
    least, most = SPACING_MM
    for n, spacing, keyword, field in zip(
        shape, spacing_mm, keywords, (MAX_STACK_MM, *[MAX_PLANE_MM] * 2), strict=True
    ):
        if not (least <= spacing <= most and n * spacing <= field):
            raise _mismatch(
                f"{_found(ds, keyword)}, which gives {n} voxels of {spacing:g} mm",
                f"{least:g} to {most:g} mm, and {field:g} mm in all",
            )


def _pixel_spacing(ds: Dataset) -> tuple[float, float]:
    spacing = numbers(ds, "PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise _mismatch(_found(ds, "PixelSpacing"), "two numbers above 0, mm")
    return spacing[0], spacing[1]


def _direction(datasets: Sequence[Dataset]) -> NDArray[np.float64]:
    """Return the unit vectors along x, y and the slice normal, as rows."""
    first, vectors = datasets[0], None
    for ds in datasets:
        values = numbers(ds, "ImageOrientationPatient", 6)
        if values is None or max(map(abs, values)) > 1 + ORIENTATION_TOLERANCE:
            raise _mismatch(_found(ds, "ImageOrientationPatient"), "six numbers, of two unit vectors")
        pair = np.array(values).reshape(2, 3)
        vectors = pair if vectors is None else vectors
        if np.abs(pair - vectors).max() > ORIENTATION_TOLERANCE:
            raise _mismatch(
                f"{_found(first, 'ImageOrientationPatient')}, but {_found(ds, 'ImageOrientationPatient')}",
                "one orientation in all slices",
            )
    row, column = np.asarray(vectors)
    if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > ORIENTATION_TOLERANCE:
        raise _mismatch(_found(first, "ImageOrientationPatient"), "two unit vectors at a right angle")
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return np.array([row, np.cross(normal, row), normal])


def _position(ds: Dataset) -> tuple[float, ...]:
    position = numbers(ds, "ImagePositionPatient", 3)
    if position is None or max(map(abs, position)) > FARTHEST_MM:
        raise _mismatch(_found(ds, "ImagePositionPatient"), f"three numbers, mm, at most {FARTHEST_MM:g}")
    return position


def _slice_spacing(datasets: Sequence[Dataset], along: NDArray[np.float64]) -> float:
    """Return the one distance between neighbours, mm; of a single slice its thickness."""
    if len(datasets) == 1:
        thickness = number(datasets[0], "SliceThickness")
        if thickness is None or thickness <= 0:
            raise _mismatch(_found(datasets[0], "SliceThickness"), "a number above 0, mm, in a series of one slice")
        return thickness
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    for i, gap in enumerate(gaps):
        if gap < POSITION_TOLERANCE_MM:
            problem, needed = "are at one position", "one slice for each position"
        elif abs(gap - usual) > POSITION_TOLERANCE_MM:
            problem, needed = f"are {gap:.3f} mm apart, others {usual:.3f} mm", "equal distances, without gaps"
        else:
            continue
        pair = " and ".join(_found(ds, "ImagePositionPatient") for ds in datasets[i : i + 2])
        raise _mismatch(f"{pair}: the slices {problem}", needed)
    return float(along[-1] - along[0]) / len(gaps)


def _no_tilt(datasets: Sequence[Dataset], positions: NDArray[np.float64], direction: NDArray[np.float64]) -> None:
    """Refuse slices that are displaced within their plane: a tilted gantry, or a patient couch that sagged."""
    aside = np.abs((positions - positions[0]) @ direction[:2].T).max(axis=1)
    worst = int(aside.argmax())
    if aside[worst] > POSITION_TOLERANCE_MM:
        raise _mismatch(
            f"{_found(datasets[worst], 'ImagePositionPatient')}, {aside[worst]:.3f} mm beside the line through "
            f"{_found(datasets[0], 'ImagePositionPatient')} along the slice normal of ImageOrientationPatient "
            f"(0020,0037); {_found(datasets[0], 'GantryDetectorTilt')}",
            "slices stacked along their normal, without gantry tilt",
        )
