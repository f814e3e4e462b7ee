"""Layers that join tensors of equal shape; broadcasting is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training_export.keras_import.graph import Tensor
from training_export.keras_import.layers.contract import Handler, Site
from training_export.network_refusal import NetworkRefusedError, Reason

AXES_OF_MAPS = {1: 2, 2: 3, 3: 1, -1: 1, -2: 3, -3: 2}  # Keras' (N, rows, columns, channels) -> ONNX's
AXES_OF_FEATURES = {1: 1, -1: 1}


def joined_by(operator: str, *, exactly: int | None = None) -> Handler:
    """Return the handler of a layer that is one operator between each two tensors."""

    def handler(site: Site, inputs: Sequence[Tensor]) -> Tensor:
        return _join(site, inputs, operator, exactly)

    return handler


def average(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write Average."""
    total = _join(site, inputs, "Add", None)
    return site.graph.node("Div", [total, site.graph.constant(np.array(len(inputs), np.float32))], total.shape)


def concatenate(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write Concatenate."""
    return _concatenate(site, inputs, "axis")


def merge(site: Site, inputs: Sequence[Tensor]) -> Tensor:
    """Write the Merge of Keras 1, which Keras 2.0 still saves; its functions are code and are refused."""
    options = site.options
    mode = options.choice("mode", (*MERGES, "concat"), "sum")
    for key in ("mode_type", "output_shape_type", "output_mask_type"):
        options.choice(key, (None, "raw"), None)
    for key in ("output_shape", "output_mask"):
        options.choice(key, (None,), None)
    options.choice("arguments", (None, {}), None)
    options.raw("dot_axes")  # of the modes dot and cos, which are not among those above
    if mode == "concat":
        return _concatenate(site, inputs, "concat_axis")
    options.raw("concat_axis")
    return MERGES[mode](site, inputs)


def _concatenate(site: Site, inputs: Sequence[Tensor], key: str) -> Tensor:
    if len(inputs) < 2:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"{site.options.label}: given {len(inputs)} tensors; needed: two"
        )
    axes = AXES_OF_MAPS if inputs[0].is_map else AXES_OF_FEATURES
    axis = axes[site.options.choice(key, tuple(axes), -1)]
    rest = {(len(t.shape), *(n for i, n in enumerate(t.shape, 1) if i != axis)) for t in inputs}
    if len(rest) > 1:
        _refuse_shapes(site, inputs)
    shape = list(inputs[0].shape)
    shape[axis - 1] = sum(t.shape[axis - 1] for t in inputs)
    return site.graph.node("Concat", inputs, tuple(shape), axis=axis)


def _join(site: Site, inputs: Sequence[Tensor], operator: str, exactly: int | None) -> Tensor:
    if len(inputs) < 2 or (exactly is not None and len(inputs) != exactly):
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED,
            f"{site.options.label}: given {len(inputs)} tensors; needed: {exactly or 'at least 2'}",
        )
    if len({t.shape for t in inputs}) > 1:
        _refuse_shapes(site, inputs)
    result = inputs[0]
    for tensor in inputs[1:]:
        result = site.graph.node(operator, [result, tensor], tensor.shape)
    return result


def _refuse_shapes(site: Site, inputs: Sequence[Tensor]) -> None:
    shapes = ", ".join(str(list(t.shape)) for t in inputs[:6])
    raise NetworkRefusedError(Reason.NOT_SUPPORTED, f"{site.options.label}: given {shapes}; needed: shapes that fit")


MERGES: dict[str, Callable[[Site, Sequence[Tensor]], Tensor]] = {
    "sum": joined_by("Add"),
    "mul": joined_by("Mul"),
    "ave": average,
    "max": joined_by("Max"),
}
