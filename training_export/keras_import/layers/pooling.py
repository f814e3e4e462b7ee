"""Pooling over windows and over whole maps."""

from __future__ import annotations

from collections.abc import Sequence

from training_export.keras_import.graph import Tensor
from training_export.keras_import.layers.contract import Site
from training_export.keras_import.layers.window import pooling_window


def max_pooling(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write MaxPooling2D."""
    return _pool(site, inputs, "MaxPool")


def average_pooling(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write AveragePooling2D; what is padded does not count (ONNX's count_include_pad is 0 unless stated)."""
    return _pool(site, inputs, "AveragePool")


def global_average_pooling(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write GlobalAveragePooling2D."""
    return _pool_whole(site, inputs, "GlobalAveragePool")


def global_max_pooling(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write GlobalMaxPooling2D."""
    return _pool_whole(site, inputs, "GlobalMaxPool")


def _pool(site: Site, inputs: Sequence[Tensor], operator: str) -> Tensor:
    x, window = site.map_of(inputs), pooling_window(site.options)
    (rows, columns), _ = window.slide(*x.shape[1:])
    return site.graph.node(operator, [x], (x.shape[0], rows, columns), **window.attributes(*x.shape[1:]))


def _pool_whole(site: Site, inputs: Sequence[Tensor], operator: str) -> Tensor:
    x = site.map_of(inputs)
    pooled = site.graph.node(operator, [x], (x.shape[0], 1, 1))
    return pooled if site.options.flag("keepdims", False) else site.graph.node("Flatten", [pooled], x.shape[:1], axis=1)
