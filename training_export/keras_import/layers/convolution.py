"""Convolutions and the dense layer. Keras keeps kernels as (rows, columns, in, out), ONNX as (out, in, rows, columns)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training_export.keras_import.graph import Tensor
from training_export.keras_import.layers.activation import activate
from training_export.keras_import.layers.contract import Site
from training_export.keras_import.layers.window import Window, convolution_window


def conv2d(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write Conv2D, grouped ones too."""
    x, window = site.map_of(inputs), convolution_window(site.options)
    filters, groups = site.options.count("filters"), site.options.count("groups", 1)
    if x.shape[0] % groups or filters % groups:
        site.options.refuse("groups", groups, f"a divisor of {x.shape[0]} and {filters} channels")
    kernel = site.weights.take("kernel", (*window.kernel, x.shape[0] // groups, filters))
    return _finished(site, _convolve(site, x, window, kernel.transpose(3, 2, 0, 1), groups, _bias(site, filters)))


def depthwise_conv2d(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write DepthwiseConv2D: each channel has ``depth_multiplier`` kernels of its own."""
    x, window = site.map_of(inputs), convolution_window(site.options)
    kernel = _depthwise_kernel(site, x, window)
    site.options.choice("groups", (1, x.shape[0]), 1)
    site.options.choice("filters", (None, len(kernel)), None)
    bias = _bias(site, len(kernel))
    return _finished(site, _convolve(site, x, window, kernel, x.shape[0], bias))


def separable_conv2d(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write SeparableConv2D: a depthwise convolution, then one of 1x1 that mixes the channels."""
    x, window = site.map_of(inputs), convolution_window(site.options)
    filters = site.options.count("filters")
    site.options.choice("groups", (1,), 1)
    kernel = _depthwise_kernel(site, x, window)
    pointwise = site.weights.take("pointwise_kernel", (1, 1, len(kernel), filters))
    spread = _convolve(site, x, window, kernel, x.shape[0], None)
    point = Window((1, 1), (1, 1), (1, 1), same=False)
    return _finished(site, _convolve(site, spread, point, pointwise.transpose(3, 2, 0, 1), 1, _bias(site, filters)))


def dense(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write Dense on a list of features."""
    x, units = site.features_of(inputs), site.options.count("units")
    kernel = site.graph.constant(site.weights.take("kernel", (x.shape[0], units)))
    bias = _bias(site, units)
    names: list[Tensor | str] = [x, kernel] if bias is None else [x, kernel, site.graph.constant(bias)]
    return _finished(site, site.graph.node("Gemm", names, (units,)))


def _depthwise_kernel(site: Site, x: Tensor, window: Window) -> NDArray[np.float32]:
    channels, multiplier = x.shape[0], site.options.count("depth_multiplier", 1)
    kernel = site.weights.take("depthwise_kernel", (*window.kernel, channels, multiplier))
    return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, *window.kernel)


def _bias(site: Site, size: int) -> NDArray[np.float32] | None:
    return site.weights.take("bias", (size,)) if site.options.flag("use_bias", True) else None


def _convolve(
    site: Site, x: Tensor, window: Window, kernel: NDArray[np.float32], groups: int, bias: NDArray[np.float32] | None
) -> Tensor:
    (rows, columns), _ = window.slide(*x.shape[1:])
    names: list[Tensor | str] = [x, site.graph.constant(kernel)]
    if bias is not None:
        names.append(site.graph.constant(bias))
    grouped = {"group": groups} if groups > 1 else {}
    return site.graph.node("Conv", names, (len(kernel), rows, columns), **window.attributes(*x.shape[1:]), **grouped)


def _finished(site: Site, x: Tensor) -> Tensor:
    return activate(site, x, site.options.raw("activation", "linear"))
