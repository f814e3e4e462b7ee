"""Small PET/CT volumes with one hot ball, for tests of crops and scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from egfr_dls.study import RoiSource
from egfr_dls.volume import Geometry, Mask, Unit, Volume
from inference.roi.region import Roi

SHAPE = (12, 128, 128)
SPACING_MM = (3.0, 0.9, 0.9)
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
CENTRE = (6, 60, 70)  # [z, y, x]


def geometry(shape: tuple[int, int, int] = SHAPE, spacing_mm: tuple[float, float, float] = SPACING_MM) -> Geometry:
    """Return an axial grid whose first slice lies at -150 mm."""
    return Geometry(shape, (-50.0, -60.0, -150.0), spacing_mm, AXIAL)


def ball(radius_mm: float = 9.0, centre: Sequence[float] = CENTRE) -> Mask:
    """Return a ball on the grid."""
    offsets = [(np.arange(n) - c) * s for n, c, s in zip(SHAPE, centre, SPACING_MM, strict=True)]
    z, y, x = np.meshgrid(*offsets, indexing="ij")
    inside: Mask = z**2 + y**2 + x**2 <= radius_mm**2
    return inside


def ct(seed: int = 0, **changes: object) -> Volume:
    """Return noisy lung with a soft-tissue ball, HU."""
    voxels = np.random.default_rng(seed).normal(-830, 20, SHAPE) + 870.0 * ball()
    return volume(voxels, Unit.HOUNSFIELD, "ct", **changes)


def pet(seed: int = 1, **changes: object) -> Volume:
    """Return SUV with a hot ball of 8."""
    voxels = np.random.default_rng(seed).gamma(4.0, 0.15, SHAPE) + 7.4 * ball()
    return volume(voxels, Unit.SUVBW, "pet", **changes)


def volume(voxels: np.ndarray, unit: Unit, name: str, padding: Mask | None = None) -> Volume:
    """Return a volume on the grid whose slices are named ``<name>.<index>``."""
    uids = tuple(f"{name}.{i}" for i in range(SHAPE[0]))
    return Volume(voxels.astype(np.float32), geometry(), unit, name, "frame", uids, padding)


def roi(label: str = "Lesion 1", mask: Mask | None = None, *, confirmed: bool = True) -> Roi:
    """Return a region on the grid: stored and confirmed, or proposed and not."""
    return Roi(
        label=label,
        mask=ball() if mask is None else mask,
        source=RoiSource.STORED_SEG if confirmed else RoiSource.PROPOSED,
        confirmed=confirmed,
        tracking_uid="2.25.1",
        volume_ml=3.0,
        statistics=None,
        description="drawn by the test",
    )
