"""RT Structure Sets as masks on a grid (PS3.3 A.19.3, C.8.8.5, C.8.8.6)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.measure import grid_points_in_poly

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.study import RoiSource
from egfr_dls.volume import Geometry, Mask, Volume
from inference.roi.header import (
    concepts_of,
    creator_of,
    datetime_of,
    object_name,
    reference_of,
    require_reference,
    required,
)
from inference.roi.stored import CodedConcept, RoiFacts, StoredRoi

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
FILLED_TYPES = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})  # Contour Geometric Type (3006,0042)
SAME_PLANE = 0.1  # slices; contours closer than this lie in one plane
THICKEST_MM = 10.0  # distance of contour planes that is still a slice; planes further apart have a gap between them
TIE_PIXELS = 1e-6  # moves contours off pixel centres, so that a centre on an edge belongs to one side only


def structure_facts(rtstruct: Dataset) -> tuple[RoiFacts, ...]:
    """Return what the header says of each ROI that has closed contours."""
    filled = {number for number, contours in _contours(rtstruct).items() if contours}
    observations = {
        int(required(item, "ReferencedROINumber", rtstruct)): item
        for item in rtstruct.get("RTROIObservationsSequence") or ()
    }
    items = rtstruct.get("StructureSetROISequence") or ()
    return tuple(
        _facts(rtstruct, item, observations.get(int(required(item, "ROINumber", rtstruct)), Dataset()))
        for item in items
        if int(required(item, "ROINumber", rtstruct)) in filled
    )


def structure_masks(rtstruct: Dataset, grid: Volume, wanted: Collection[int] | None = None) -> tuple[StoredRoi, ...]:
    """Return the ROIs as bool ``[z, y, x]`` masks on the grid of a volume.

    A voxel belongs to a ROI when its centre lies inside an odd number of the contours of its plane (even-odd rule), so a
    second contour cuts a hole. A slice takes the contours of the nearest plane within half a slice. Contours drawn on
    another series reach half the distance of their planes where that is larger: they are carried by nearest neighbour.

    Parameters
    ----------
    rtstruct
        RT Structure Set
    grid
        the PET or CT
    wanted
        ROI Numbers (3006,0022); None: all

    Raises
    ------
    StudyRefusedError
        ``ROI_REFERENCE_MISSING`` (other images), ``GEOMETRY_MISMATCH`` (contours that do not lie in slices)
    """
    thickest_mm = 0.0 if require_reference(rtstruct, grid).is_on(grid) else THICKEST_MM
    structures = [f for f in structure_facts(rtstruct) if wanted is None or f.number in wanted]
    contours = _contours(rtstruct)
    return tuple(
        StoredRoi(
            **vars(facts),
            mask=_filled(
                [_placed(rtstruct, points, grid.geometry) for points in contours[facts.number]],
                grid.geometry,
                thickest_mm,
            ),
            method="voxel centres inside the contours, even-odd rule",
        )
        for facts in structures
    )


def _facts(rtstruct: Dataset, item: Dataset, observation: Dataset) -> RoiFacts:
    interpreted = str(observation.get("RTROIInterpretedType") or "")
    concepts = concepts_of(observation, "RTROIIdentificationCodeSequence")
    if interpreted:
        concepts += (CodedConcept(interpreted, "RT ROI Interpreted Type", interpreted),)
    return RoiFacts(
        label=str(item.get("ROIName", "")),
        number=int(required(item, "ROINumber", rtstruct)),
        source=RoiSource.STORED_RTSTRUCT,
        sop_instance_uid=str(rtstruct.SOPInstanceUID),
        sop_class_uid=str(rtstruct.SOPClassUID),
        content_datetime=datetime_of(rtstruct, "StructureSetDate", "StructureSetTime"),
        tracking_uid=None,
        concepts=concepts,
        referenced_series_uids=reference_of(rtstruct).series_uids,
        creator=creator_of(rtstruct, str(item.get("ROIGenerationAlgorithm") or "")),
    )


def _contours(rtstruct: Dataset) -> dict[int, list[NDArray[np.float64]]]:
    """Return the closed contours of each ROI Number as float64 ``[point, 3]``, LPS mm."""
    contours: dict[int, list[NDArray[np.float64]]] = {}
    for item in rtstruct.get("ROIContourSequence") or ():
        closed = contours.setdefault(int(required(item, "ReferencedROINumber", rtstruct)), [])
        for contour in item.get("ContourSequence") or ():
            if contour.get("ContourGeometricType") in FILLED_TYPES:
                data = np.array(required(contour, "ContourData", rtstruct), dtype=float)
                if data.size % 3 or data.size < 9:
                    raise _unfit(
                        rtstruct, f"ContourData (3006,0050) of {data.size} values, needed three points or more"
                    )
                closed.append(data.reshape(-1, 3))
    return contours


@dataclass(frozen=True, eq=False)
class _PlanarContour:
    """A contour on the grid: its slice coordinate, and float64 ``[point, 2]`` (row, column) coordinates."""

    z: float
    outline: NDArray[np.float64]


def _placed(rtstruct: Dataset, points: NDArray[np.float64], grid: Geometry) -> _PlanarContour:
    to_index = np.linalg.inv(grid.index_to_mm)
    indices = points @ to_index[:3, :3].T + to_index[:3, 3]
    z = float(indices[:, 2].mean())
    tilt = float(np.abs(indices[:, 2] - z).max())
    if tilt > 0.5:
        raise _unfit(rtstruct, f"a contour that leaves its slice by {tilt * grid.spacing_mm[0]:.1f} mm")
    return _PlanarContour(z, indices[:, 1::-1])


def _filled(contours: list[_PlanarContour], grid: Geometry, thickest_mm: float) -> Mask:
    """Fill planes that stand for slices of up to ``thickest_mm``, or of the grid's own thickness."""
    mask = np.zeros(grid.shape, dtype=np.bool_)
    planes = _planes(contours)
    heights = np.array([plane[0].z for plane in planes])
    apart = float(np.diff(heights).min()) if len(heights) > 1 else 1.0
    reach = 0.5 * max(1.0, min(apart, thickest_mm / grid.spacing_mm[0]))
    for z in range(grid.shape[0]):
        away = z - heights
        near = np.flatnonzero((away >= -reach) & (away < reach))  # half open: a plane between two slices fills one
        if near.size:
            for contour in planes[near[np.argmin(np.abs(away[near]))]]:
                _flip(mask[z], contour.outline)
    return mask


def _planes(contours: list[_PlanarContour]) -> list[list[_PlanarContour]]:
    """Group contours by the plane they lie in, ascending."""
    planes: list[list[_PlanarContour]] = []
    for contour in sorted(contours, key=lambda c: c.z):
        if planes and contour.z - planes[-1][-1].z <= SAME_PLANE:
            planes[-1].append(contour)
        else:
            planes.append([contour])
    return planes


def _flip(image: Mask, outline: NDArray[np.float64]) -> None:
    """Exclusive-or the inside of a polygon into ``image``, bool ``[rows, columns]``."""
    low = np.clip(np.floor(outline.min(axis=0)), 0, image.shape).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0)) + 1, 0, image.shape).astype(int)
    if (high > low).all():
        inside = grid_points_in_poly(tuple(high - low), outline - low + TIE_PIXELS)  # type: ignore[no-untyped-call]  # scikit-image carries no types
        image[low[0] : high[0], low[1] : high[1]] ^= inside


def _unfit(rtstruct: Dataset, found: str) -> StudyRefusedError:
    return StudyRefusedError(
        RefusalCode.GEOMETRY_MISMATCH,
        f"{object_name(rtstruct)}: {found}; needed closed contours in the planes of the image's slices",
    )
