"""Carry arrays from one grid to another. Pure; interpolation by SimpleITK."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from itertools import product
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from egfr_dls.volume import FloatVolume, Geometry, Mask

sitk: Any = SimpleITK  # its functions carry no types
Box = tuple[slice, slice, slice]


class Interpolation(IntEnum):
    """How values between voxel centres are found."""

    NEAREST = sitk.sitkNearestNeighbor
    LINEAR = sitk.sitkLinear


def volume_onto(
    voxels: FloatVolume, source: Geometry, target: Geometry, interpolation: Interpolation, outside: float = 0.0
) -> FloatVolume:
    """Return the float32 ``[z, y, x]`` values of ``source``'s grid at the voxel centres of ``target``'s.

    ``outside`` is the value of voxels more than half a voxel beyond the source grid.
    """
    return _resampled(image_of(voxels.astype(np.float32, copy=False), source), target, interpolation, outside)


def mask_onto(mask: Mask, source: Geometry, target: Geometry) -> Mask:
    """Return the bool ``[z, y, x]`` mask on another grid, by nearest neighbour; false outside.

    Works in the mask's bounding box alone, so a lesion costs milliseconds on a whole CT.
    """
    if source == target:
        return mask.copy()
    carried = np.zeros(target.shape, dtype=np.bool_)
    if not mask.any():
        return carried
    held = bounding_box(mask)
    part = cropped(source, held)
    box = box_around(part, target)
    if all(s.stop > s.start for s in box):
        image = image_of(mask[held].astype(np.uint8), part)
        carried[box] = _resampled(image, cropped(target, box), Interpolation.NEAREST, 0).astype(np.bool_)
    return carried


def isotropic(geometry: Geometry, spacing_mm: float) -> Geometry:
    """Return the grid of cubes of ``spacing_mm`` that starts at the same voxel and covers the same field."""
    z, y, x = (
        max(int((n - 1) * s / spacing_mm + 1e-6) + 1, 1)
        for n, s in zip(geometry.shape, geometry.spacing_mm, strict=True)
    )
    return replace(geometry, shape=(z, y, x), spacing_mm=(spacing_mm,) * 3)


def cropped(geometry: Geometry, box: Box) -> Geometry:
    """Return the part of a grid inside a box of ``[z, y, x]`` slices (start and stop given, no step)."""
    z, y, x = (s.start for s in box)
    origin = geometry.index_to_mm @ np.array([x, y, z, 1.0])
    return replace(
        geometry,
        shape=(box[0].stop - z, box[1].stop - y, box[2].stop - x),
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
    )


def bounding_box(mask: Mask, margin: int = 0) -> Box:
    """Return the ``[z, y, x]`` slices that hold every true voxel, ``margin`` voxels wider, within the array."""
    bounds = []
    for axis in range(3):
        held = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds.append(slice(max(int(held[0]) - margin, 0), min(int(held[-1]) + 1 + margin, mask.shape[axis])))
    return bounds[0], bounds[1], bounds[2]


def box_around(part: Geometry, target: Geometry, margin: int = 0) -> Box:
    """Return the box of ``target`` voxels that can lie within half a voxel of the grid ``part``, ``margin`` voxels wider."""
    ends = [(-0.5, n - 0.5) for n in reversed(part.shape)]  # x, y, z
    corners = np.array([(x, y, z, 1.0) for x, y, z in product(*ends)])
    indices = (np.linalg.inv(target.index_to_mm) @ part.index_to_mm @ corners.T)[2::-1]  # z, y, x
    low = np.clip(np.floor(indices.min(axis=1)) - margin, 0, target.shape).astype(int)
    high = np.clip(np.ceil(indices.max(axis=1)) + 1 + margin, 0, target.shape).astype(int)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def image_of(voxels: NDArray[Any], geometry: Geometry) -> Any:
    """Return an array ``[z, y, x]`` as an image of SimpleITK in its place in the patient."""
    image = sitk.GetImageFromArray(voxels)
    image.SetOrigin(geometry.origin_mm)
    image.SetSpacing(tuple(reversed(geometry.spacing_mm)))
    image.SetDirection(tuple(np.array(geometry.direction, dtype=float).T.ravel()))
    return image


def _resampled(image: Any, target: Geometry, interpolation: Interpolation, outside: float) -> NDArray[Any]:
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(tuple(reversed(target.shape)))
    resampler.SetOutputOrigin(target.origin_mm)
    resampler.SetOutputSpacing(tuple(reversed(target.spacing_mm)))
    resampler.SetOutputDirection(tuple(np.array(target.direction, dtype=float).T.ravel()))
    resampler.SetInterpolator(int(interpolation))
    resampler.SetDefaultPixelValue(outside)
    return np.asarray(sitk.GetArrayFromImage(resampler.Execute(image)))
