"""RT Structure Sets as masks on a grid (PS3.3 A.19.3, C.8.8.5, C.8.8.6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.study import RoiSource
from egfr_dls.volume import Geometry, Mask, Volume
from inference.read.header import items, text, where, written
from inference.roi.header import (
    concepts_of,
    datetime_of,
    object_name,
    person_of,
    reference_in_frame,
    reference_of,
    require_reference,
    required_integer,
    software_of,
    utc_offset_of,
)
from inference.roi.polygon import TooManyCrossingsError, flip_inside
from inference.roi.stored import INTERPRETED_TYPE, JUDGED_CHARACTERS, CodedConcept, Origin, RoiFacts, StoredRoi, shown

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
# Contour Geometric Type (3006,0042), PS3.3 C.8.8.6.1; the last is how some write the second.
FILLED_TYPES = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"})
SAME_PLANE = 0.1  # slices; contours closer than this lie in one plane
THICKEST_MM = 10.0  # distance of contour planes that is still a slice; planes further apart have a gap between them
LEAST_VALUES = 9  # of Contour Data: three points; fewer enclose nothing
MOST_VALUES = 3_000_000  # of Contour Data: a million points; the outline of every pixel of a slice has as many
FARTHEST_MM = 1e5  # of a point from the origin of the frame of reference
DRAWN = frozenset({"MANUAL", "SEMIAUTOMATIC"})  # ROI Generation Algorithm (3006,0036), PS3.3 C.8.8.5
REJECTED = f"was rejected: {where('ApprovalStatus')} is REJECTED"
DATES = (("StructureSetDate", "StructureSetTime"), ("InstanceCreationDate", "InstanceCreationTime"))


def structure_facts(rtstruct: Dataset) -> tuple[RoiFacts, ...]:
    """Return what the header says of each ROI; one without a closed contour is ``hollow``."""
    contours = _contours(rtstruct)
    observations = {
        required_integer(item, "ReferencedROINumber", rtstruct): item
        for item in items(rtstruct, "RTROIObservationsSequence")
    }
    return tuple(
        _facts(rtstruct, item, number, observations.get(number, Dataset()), contours.get(number, _Contours()))
        for item in items(rtstruct, "StructureSetROISequence")
        for number in (required_integer(item, "ROINumber", rtstruct),)
    )


def structure_masks(rtstruct: Dataset, grid: Volume, wanted: Collection[int] | None = None) -> tuple[StoredRoi, ...]:
    """Return the ROIs that have closed contours as bool ``[z, y, x]`` masks on the grid of a volume.

    A voxel belongs to a ROI when its centre lies inside an odd number of the contours of its plane (even-odd rule), so a
    second contour cuts a hole; a contour that is there twice counts once. A slice takes the contours of the nearest plane
    within half a slice. Contours drawn on another series reach half the distance of their planes where that is larger:
    they are carried by nearest neighbour.

    Parameters
    ----------
    rtstruct
        RT Structure Set
    grid
        the PET or CT
    wanted
        ROI Numbers (3006,0022); None: all whose frame of reference is the volume's

    Raises
    ------
    StudyRefusedError
        ``ROI_REFERENCE_MISSING`` (other images), ``GEOMETRY_MISMATCH`` (contours that do not lie in slices, or hold no
        points)
    """
    contours = _contours(rtstruct)
    described = [facts for facts in structure_facts(rtstruct) if wanted is None or facts.number in wanted]
    here = [facts for facts in described if facts.reference.serves(grid)]
    if not here or (wanted is not None and len(here) < len(described)):
        lost = next((facts.reference for facts in described if facts not in here), reference_of(rtstruct))
        require_reference(rtstruct, lost, grid)
    return tuple(
        StoredRoi(
            **vars(facts),
            mask=_filled(
                rtstruct,
                contours[facts.number].closed,
                grid.geometry,
                0.0 if facts.reference.is_on(grid) else THICKEST_MM,
            ),
            method="voxel centres inside the contours, even-odd rule",
        )
        for facts in here
        if not facts.hollow
    )


def _facts(rtstruct: Dataset, item: Dataset, number: int, observation: Dataset, contours: _Contours) -> RoiFacts:
    interpreted = text(observation, "RTROIInterpretedType")
    concepts = concepts_of(observation, "RTROIIdentificationCodeSequence")
    if interpreted:
        concepts += (CodedConcept(interpreted, INTERPRETED_TYPE, interpreted),)
    algorithm = text(item, "ROIGenerationAlgorithm")
    approval = text(rtstruct, "ApprovalStatus")
    approved = approval == "APPROVED"
    return RoiFacts(
        label=text(item, "ROIName")[:JUDGED_CHARACTERS],
        number=number,
        source=RoiSource.STORED_RTSTRUCT,
        sop_instance_uid=text(rtstruct, "SOPInstanceUID"),
        sop_class_uid=text(rtstruct, "SOPClassUID"),
        content_datetime=datetime_of(rtstruct, *DATES),
        utc_offset=utc_offset_of(rtstruct),
        tracking_uid=None,
        concepts=concepts,
        reference=reference_in_frame(rtstruct, text(item, "ReferencedFrameOfReferenceUID")),
        origin=Origin(
            person=person_of(observation, "ROIInterpreter") or person_of(rtstruct, "OperatorsName"),
            algorithm=", ".join(part for part in (shown(algorithm), "approved" if approved else "") if part),
            software=software_of(rtstruct),
            by_person=approved or algorithm in DRAWN,
        ),
        hollow=REJECTED if approval == "REJECTED" else contours.hollow,
    )


@dataclass
class _Contours:
    """The contours of one ROI by what can be done with them."""

    closed: list[Dataset] = field(default_factory=list)
    other_types: set[str] = field(default_factory=set)
    short: int = 0

    @property
    def hollow(self) -> str:
        """Why they enclose nothing; empty where one may."""
        if self.closed:
            return ""
        others = ", ".join(sorted(self.other_types))
        parts = (
            f"{where('ContourGeometricType')} is {others}" if others else "",
            f"{self.short} of fewer than three points in {where('ContourData')}" if self.short else "",
        )
        return f"has no closed contour ({'; '.join(part for part in parts if part) or 'it has none at all'})"


def _contours(rtstruct: Dataset) -> dict[int, _Contours]:
    """Sort the contours of each ROI Number, without reading their points."""
    sorted_out: dict[int, _Contours] = {}
    for item in items(rtstruct, "ROIContourSequence"):
        its = sorted_out.setdefault(required_integer(item, "ReferencedROINumber", rtstruct), _Contours())
        for contour in items(item, "ContourSequence"):
            kind = text(contour, "ContourGeometricType")
            if kind not in FILLED_TYPES:
                its.other_types.add(shown(kind) or "missing")
            elif written(contour, "ContourData").count("\\") + 1 < LEAST_VALUES:
                its.short += 1
            else:
                its.closed.append(contour)
    return sorted_out


@dataclass(frozen=True, eq=False)
class _PlanarContour:
    """A contour on the grid: its slice coordinate, and float64 ``[point, 2]`` (row, column) coordinates."""

    z: float
    outline: NDArray[np.float64]


def _points(rtstruct: Dataset, contour: Dataset) -> NDArray[np.float64]:
    """Return Contour Data as float64 ``[point, 3]``, LPS mm."""
    data = written(contour, "ContourData")
    count = data.count("\\") + 1
    if count % 3 or count > MOST_VALUES:
        raise _unfit(
            rtstruct, f"{where('ContourData')} of {count} values, needed three for each point, at most {MOST_VALUES}"
        )
    try:
        points = np.array(data.split("\\"), dtype=np.float64).reshape(-1, 3)
    except ValueError:
        raise _unfit(rtstruct, f"{where('ContourData')} {shown(data)!r} holds what is no number") from None
    if not (np.abs(points) <= FARTHEST_MM).all():  # also false of what is no number
        farthest = float(np.abs(points).max())
        raise _unfit(
            rtstruct, f"{where('ContourData')} holds a coordinate of {farthest:g} mm, at most {FARTHEST_MM:g} mm"
        )
    return points


def _placed(rtstruct: Dataset, points: NDArray[np.float64], grid: Geometry) -> _PlanarContour:
    to_index = np.linalg.inv(grid.index_to_mm)
    indices = points @ to_index[:3, :3].T + to_index[:3, 3]
    z = float(indices[:, 2].mean())
    tilt = float(np.abs(indices[:, 2] - z).max())
    if tilt > 0.5:
        raise _unfit(rtstruct, f"a contour that leaves its slice by {tilt * grid.spacing_mm[0]:.1f} mm")
    return _PlanarContour(z, indices[:, 1::-1])


def _filled(rtstruct: Dataset, closed: Sequence[Dataset], grid: Geometry, thickest_mm: float) -> Mask:
    """Fill planes that stand for slices of up to ``thickest_mm``, or of the grid's own thickness."""
    mask = np.zeros(grid.shape, dtype=np.bool_)
    planes = _planes([_placed(rtstruct, _points(rtstruct, contour), grid) for contour in closed])
    heights = np.array([plane[0].z for plane in planes])
    apart = float(np.diff(heights).min()) if len(heights) > 1 else 1.0
    reach = 0.5 * max(1.0, min(apart, thickest_mm / grid.spacing_mm[0]))
    for z in range(grid.shape[0]):
        away = z - heights
        near = np.flatnonzero((away >= -reach) & (away < reach))  # half open: a plane between two slices fills one
        if near.size:
            for contour in _once(planes[near[np.argmin(np.abs(away[near]))]]):
                try:
                    flip_inside(mask[z], contour.outline)
                except TooManyCrossingsError as error:
                    raise _unfit(rtstruct, f"a contour of {len(contour.outline)} points that {error}") from None
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


def _once(contours: Sequence[_PlanarContour]) -> list[_PlanarContour]:
    """Leave out contours that are there twice: the even-odd rule would make a hole of them."""
    return list({contour.outline.tobytes(): contour for contour in contours}.values())


def _unfit(rtstruct: Dataset, what: str) -> StudyRefusedError:
    return StudyRefusedError(
        RefusalCode.GEOMETRY_MISMATCH,
        f"{object_name(rtstruct)}: {what}; needed closed contours in the planes of the image's slices",
    )
