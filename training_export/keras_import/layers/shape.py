"""Layers that only move numbers, and those that do nothing once training is over."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from training_export.keras_import.graph import Tensor
from training_export.keras_import.layers.contract import Handler, Site
from training_export.keras_import.options import padding_pairs

TO_CHANNELS_LAST = [0, 2, 3, 1]
TO_CHANNELS_FIRST = [0, 3, 1, 2]


def nothing(*training_only: str) -> Handler:
    """Return the handler of a layer that acts in training alone, with these options."""

    def handler(site: Site, inputs: Sequence[Tensor]) -> Tensor:
        for key in training_only:
            site.options.raw(key)
        return site.one(inputs)

    return handler


def zero_padding(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write ZeroPadding2D."""
    x = site.map_of(inputs)
    (top, bottom), (left, right) = padding_pairs(site.options)
    pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    shape = (x.shape[0], x.shape[1] + top + bottom, x.shape[2] + left + right)
    return site.graph.node("Pad", [x, site.graph.constant(pads)], shape, mode="constant")


def flatten(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write Flatten, in Keras' order: rows, columns, channels."""
    x = site.one(inputs)
    return _flat(site, x) if x.is_map else x


def reshape(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write Reshape to a map or to features, in Keras' order."""
    x, target = site.one(inputs), site.options.raw("target_shape")
    shape = _resolved(target, math.prod(x.shape))
    if shape is None:
        site.options.refuse("target_shape", target, f"one or three sizes that hold {math.prod(x.shape)} numbers")
    flat = _flat(site, x) if x.is_map else x
    if len(shape) == 1:
        return flat
    rows, columns, channels = shape
    sizes = site.graph.constant(np.array([0, rows, columns, channels], np.int64))  # 0: the images' axis as it is
    last = site.graph.node("Reshape", [flat, sizes], (rows, columns, channels))
    return site.graph.node("Transpose", [last], (channels, rows, columns), perm=TO_CHANNELS_FIRST)


def _flat(site: Site, x: Tensor) -> Tensor:
    channels, rows, columns = x.shape
    if rows * columns > 1:
        x = site.graph.node("Transpose", [x], (rows, columns, channels), perm=TO_CHANNELS_LAST)
    return site.graph.node("Flatten", [x], (channels * rows * columns,), axis=1)


def _resolved(target: object, size: int) -> tuple[int, ...] | None:
    if not isinstance(target, list) or len(target) not in (1, 3):
        return None
    if not all(isinstance(n, int) and not isinstance(n, bool) and (n == -1 or n >= 1) for n in target):
        return None
    known = math.prod(n for n in target if n > 0)
    if target.count(-1) > 1 or size % known:
        return None
    shape = tuple(size // known if n == -1 else n for n in target)
    return shape if math.prod(shape) == size else None
