"""Golden values: synthetic images, and what ONNX Runtime on a CPU makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy import ndimage

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]
UNSATURATED = (0.1, 0.9)
GOLDEN_NOISES = ((0.0, 0.5), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (5.0, 1.5))  # grain in pixels, contrast
SCALES = (1.0, 0.5, 0.25, 0.1, 0.05)


@dataclass(frozen=True, eq=False)
class Golden:
    """``image``, ``prob`` and, where the network has it, ``cam``; saturated where fewer than two answers lie between."""

    arrays: Mapping[str, Float32]
    saturated: bool


class CpuNetwork:
    """A network in a plain session; its inputs are given joined along the channels."""

    def __init__(self, network: bytes, names: Sequence[str]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only, and these are raised
        self.names = tuple(names)
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, image: Float32) -> dict[str, Float32]:
        """Return every output by name."""
        planes = np.split(image, len(self.names), axis=1)
        feed = {name: np.ascontiguousarray(plane) for name, plane in zip(self.names, planes, strict=True)}
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))


def golden_values(network: CpuNetwork, shape: Shape) -> Golden:
    """Return golden values of a network whose inputs are each of ``shape`` (channels, rows, columns).

    The images are scaled down until at least two answers are not saturated; where none of the scales does that, they stay
    as they are.
    """
    channels, rows, columns = shape
    images = golden_inputs((channels * len(network.names), rows, columns))
    first: dict[str, Float32] = {}
    for scale in SCALES:
        image = images * np.float32(scale)
        values = {"image": image, **network.run(image)}
        if np.count_nonzero(_between(values["prob"])) >= 2:
            return Golden(values, saturated=False)
        first = first or values
    return Golden(first, saturated=True)


def golden_inputs(shape: Shape) -> Float32:
    """Return eight synthetic images ``[8, *shape]``: five standardised noises, zeros, a checkerboard, a ramp.

    The noises rise in grain and contrast, so that a network that looks for structures of some size answers to them.
    """
    _, rows, columns = shape
    rng = np.random.default_rng(0)
    noises = [contrast * _noise(rng, shape, grain) for grain, contrast in GOLDEN_NOISES]
    row, column = np.indices((rows, columns))
    checkerboard = np.where((row + column) % 2 == 0, 4.0, -4.0)
    ramp = np.linspace(-2.0, 2.0, rows * columns).reshape(rows, columns)
    plain = [np.broadcast_to(plane, shape) for plane in (np.zeros((rows, columns)), checkerboard, ramp)]
    return np.stack([*noises, *plain]).astype(np.float32)


def _noise(rng: np.random.Generator, shape: Shape, grain: float) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), (0.0, grain, grain))
    spread = noise.std((1, 2), keepdims=True)
    return np.asarray((noise - noise.mean((1, 2), keepdims=True)) / np.where(spread > 0, spread, 1.0))


def _between(prob: Float32) -> NDArray[np.bool_]:
    low, high = UNSATURATED
    return np.asarray(((prob > low) & (prob < high)).any(axis=1))
