"""The same patient somewhere else: every position and direction of a study's headers carried by a rigid motion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset

from egfr_dls.volume import Geometry


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the turn about x, then y, then z."""
    a, b, c = (math.radians(d) for d in degrees)
    x = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    y = [[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]]
    z = [[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]]
    turn: NDArray[np.float64] = np.array(z) @ np.array(y) @ np.array(x)
    return turn


@dataclass(frozen=True)
class Motion:
    """A turn (degrees about x, y, z), then a shift (mm)."""

    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def point(self, p: Iterable[float]) -> NDArray[np.float64]:
        """Carry a position."""
        return rotation(self.degrees) @ np.array(list(p), dtype=float) + self.shift_mm

    def grid(self, geometry: Geometry) -> Geometry:
        """Carry a grid."""
        direction = [tuple(float(v) for v in rotation(self.degrees) @ np.array(axis)) for axis in geometry.direction]
        origin = tuple(float(v) for v in self.point(geometry.origin_mm))
        return replace(geometry, origin_mm=origin, direction=tuple(direction))  # type: ignore[arg-type]  # 3 each

    def study(self, datasets: Sequence[Dataset], frame: str | None = None) -> list[Dataset]:
        """Carry instances, regions included; ``frame`` replaces their frame of reference."""
        moved = [deepcopy(ds) for ds in datasets]
        for ds in moved:
            ds.walk(lambda _ds, element: self._carry(element, frame))
        return moved

    def _carry(self, element: DataElement, frame: str | None) -> None:
        carry: dict[str, Any] = {
            "ImagePositionPatient": self._points,
            "ContourData": self._points,
            "ImageOrientationPatient": self._directions,
        }
        if element.keyword in carry:
            element.value = [f"{v:.10g}" for v in carry[element.keyword](element.value)]
        elif frame and element.keyword in ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID"):
            element.value = frame

    def _points(self, values: Iterable[Any]) -> NDArray[np.float64]:
        points = np.array([float(v) for v in values]).reshape(-1, 3)
        return np.concatenate([self.point(p) for p in points])

    def _directions(self, values: Iterable[Any]) -> NDArray[np.float64]:
        axes = np.array([float(v) for v in values]).reshape(-1, 3)
        return np.concatenate([rotation(self.degrees) @ axis for axis in axes])
