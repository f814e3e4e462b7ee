"""The phantom's body: organs as ellipsoids with a CT number and an uptake, painted in order.

LPS millimetres; the phantom's middle is the origin, +x is the patient's left, +y is posterior, +z is cranial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from egfr_dls.volume import FloatVolume, Geometry, Mask

Point = NDArray[np.float64]  # x, y, z in mm
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def centred_grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Geometry:
    """Return an axial grid whose middle is the origin."""
    z, y, x = (-(n - 1) / 2 * d for n, d in zip(shape, spacing_mm, strict=True))
    return Geometry(shape=shape, origin_mm=(x, y, z), spacing_mm=spacing_mm, direction=AXIAL)


PET_GRID = centred_grid((80, 96, 112), (4.0, 4.0, 4.0))
CT_GRID = centred_grid((80, 192, 224), (4.0, 2.0, 2.0))  # each PET voxel is 2 x 2 CT voxels

AIR_HU = -1000.0
LUNG_HU = -830.0
LUNG_SUV = 0.45
HEART_WALL_SUV = (1.8, 4.0, 9.0)
MEDIASTINUM_SUV = (1.3, 1.9)
OFF_LUNG_SUV = 25.0


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An axis-aligned ellipsoid: centre and semi-axes as x, y, z in mm."""

    centre_mm: Point
    semi_axes_mm: Point

    def radius(self, grid: Geometry) -> FloatVolume:
        """Return the relative radius of every voxel centre, ``[z, y, x]``: below 1 inside, 1 on the surface."""
        squares = [
            ((grid.origin_mm[a] + np.arange(n) * d - self.centre_mm[a]) / self.semi_axes_mm[a]) ** 2
            for a, n, d in zip((2, 1, 0), grid.shape, grid.spacing_mm, strict=True)
        ]
        radius: FloatVolume = np.sqrt(np.add.outer(np.add.outer(squares[0], squares[1]), squares[2])).astype(np.float32)
        return radius

    def mask(self, grid: Geometry) -> Mask:
        """Return the voxels whose centre lies inside."""
        return self.radius(grid) <= 1.0

    def relative(self, point_mm: Point) -> float:
        """Return the relative radius of one point."""
        return float(np.linalg.norm((point_mm - self.centre_mm) / self.semi_axes_mm))


@dataclass(frozen=True, eq=False)
class Organ:
    """A named ellipsoid with what the two scanners measure in it: HU and SUVbw (g/ml)."""

    name: str
    shape: Ellipsoid
    hu: float
    suv: float


def make_anatomy(rng: np.random.Generator) -> tuple[Organ, ...]:
    """Return one patient's organs in the order in which they are painted; later ones lie on top."""
    scale = rng.uniform(0.94, 1.06)

    def organ(name: str, centre: tuple[float, ...], semi_axes: tuple[float, ...], hu: float, suv: float) -> Organ:
        jitter = rng.uniform(-4.0, 4.0, 3)
        shape = Ellipsoid(np.array(centre) * scale + jitter, np.array(semi_axes) * scale * rng.uniform(0.96, 1.04, 3))
        return Organ(name, shape, hu, suv)

    wall_suv = float(rng.choice(HEART_WALL_SUV))
    heart = organ("heart wall", (12, -38, -58), (42, 38, 45), 45.0, wall_suv)
    cavity = Ellipsoid(heart.shape.centre_mm, heart.shape.semi_axes_mm - 11.0)
    return (
        organ("torso", (0, 0, 0), (178, 125, 1e4), 30.0, 0.9),
        organ("mediastinum", (0, 0, 0), (36, 70, 130), 40.0, rng.uniform(*MEDIASTINUM_SUV)),
        organ("right lung", (-94, 0, 0), (60, 85, 105), LUNG_HU, LUNG_SUV),
        organ("left lung", (94, 0, 0), (60, 85, 105), LUNG_HU, LUNG_SUV),
        organ("liver", (-80, 0, -125), (85, 90, 62), 60.0, rng.uniform(1.9, 2.2)),
        heart,
        Organ("heart cavity", cavity, 45.0, 1.6),
        organ("spine", (0, 82, 0), (21, 21, 1e4), 260.0, 1.5),
        organ("off-lung spot", (62, 35, -138), (15, 15, 13), 40.0, OFF_LUNG_SUV),
    )


def paint(organs: tuple[Organ, ...], grid: Geometry) -> tuple[FloatVolume, FloatVolume]:
    """Return HU and SUV of every voxel, ``[z, y, x]``, air outside the torso."""
    hu = np.full(grid.shape, AIR_HU, dtype=np.float32)
    suv = np.zeros(grid.shape, dtype=np.float32)
    for organ in organs:
        inside = organ.shape.mask(grid)
        hu[inside], suv[inside] = organ.hu, organ.suv
    return hu, suv
