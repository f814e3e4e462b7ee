"""Voxels with their place in the patient: ``[z, y, x]`` arrays and LPS millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatVolume = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Unit(StrEnum):
    """What a voxel's number means."""

    SUVBW = "g/ml"  # body-weight SUV
    RELATIVE = "relative"  # rescaled PET whose SUV factor is unknown: shape only, no quantity
    HOUNSFIELD = "HU"


@dataclass(frozen=True)
class Geometry:
    """Where a regular grid lies in the patient.

    Parameters
    ----------
    shape
        number of slices, rows, columns: ``[z, y, x]``
    origin_mm
        LPS position (x, y, z) of the centre of voxel ``[0, 0, 0]``, mm
    spacing_mm
        distance between voxel centres along ``[z, y, x]``, mm
    direction
        unit vectors (LPS) in which the column, row and slice index grow: ``(along_x, along_y, along_z)``

    References
    ----------
    PS3.3 C.7.6.2.1.1 (Image Position and Image Orientation (Patient)).
    """

    shape: tuple[int, int, int]
    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    direction: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def index_to_mm(self) -> NDArray[np.float64]:
        """Affine 4x4 that takes ``(x, y, z, 1)`` indices to LPS mm."""
        affine = np.eye(4)
        z, y, x = self.spacing_mm
        affine[:3, :3] = np.array(self.direction).T * np.array([x, y, z])
        affine[:3, 3] = self.origin_mm
        return affine

    def slice_position_mm(self, index: int) -> float:
        """Position of slice ``index`` along the slice normal, LPS mm."""
        normal = np.array(self.direction[2])
        return float(np.dot(self.origin_mm, normal) + index * self.spacing_mm[0])


@dataclass(frozen=True, eq=False)
class Volume:
    """One DICOM series as an array.

    Parameters
    ----------
    voxels
        float32 ``[z, y, x]`` in ``unit``, read-only
    sop_instance_uids
        SOP Instance UID (0008,0018) of each slice, in the order of z
    padding
        bool ``[z, y, x]``, true where the stored value was PixelPaddingValue (0028,0120); None: nowhere
    stored_geometry
        where the headers have the grid, when registration moved ``geometry`` into another frame of reference; None: there
    """

    voxels: FloatVolume
    geometry: Geometry
    unit: Unit
    series_instance_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    padding: Mask | None = None
    stored_geometry: Geometry | None = None

    def __post_init__(self) -> None:
        if self.voxels.shape != self.geometry.shape:
            raise ValueError(f"voxels {self.voxels.shape} do not fill the grid {self.geometry.shape}")
        self.voxels.setflags(write=False)

    @property
    def as_stored(self) -> Volume:
        """The volume where its headers have it: what was drawn on it is read there."""
        return (
            self if self.stored_geometry is None else replace(self, geometry=self.stored_geometry, stored_geometry=None)
        )
