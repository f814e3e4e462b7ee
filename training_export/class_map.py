"""Gives a network its class maps, where the head allows it: feature map, spatial mean, one dense layer, softmax.

The head is written anew as ``prob = softmax(mean(cam))`` with ``cam`` a 1x1 convolution of the feature map: the same
numbers, and the only form that every TensorRT takes (docs/reference/science.md G).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
PASSED = ("Identity", "Dropout")
SPATIAL = ((2, 3), (-2, -1))


@dataclass(frozen=True)
class ClassMap:
    """The output ``cam``: the bias that it includes, one a class, and its rows and columns."""

    bias: tuple[float, ...]
    grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Head:
    features: str
    kernel: Array  # [features, classes]
    bias: Array  # [classes]
    grid: tuple[int, int]


def with_class_map(model: onnx.ModelProto) -> tuple[onnx.ModelProto, ClassMap | None]:
    """Return the network with the output ``cam`` beside ``prob``, or as it is with None where the head has no map."""
    head = _Reader(model).head()
    if head is None:
        return model, None
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    old = next(node for node in graph.node if "prob" in node.output)
    graph.node.remove(old)
    weight = np.ascontiguousarray(head.kernel.T[:, :, None, None], np.float32)
    bias = np.ascontiguousarray(head.bias, np.float32)
    graph.initializer.extend([numpy_helper.from_array(weight, "cam_weight"), numpy_helper.from_array(bias, "cam_bias")])
    graph.node.extend(
        [
            helper.make_node("Conv", [head.features, "cam_weight", "cam_bias"], ["cam"]),
            helper.make_node("GlobalAveragePool", ["cam"], ["cam_mean"]),
            helper.make_node("Flatten", ["cam_mean"], ["logits"], axis=1),
            helper.make_node("Softmax", ["logits"], ["prob"], axis=1),
        ]
    )
    shape: list[str | int | None] = ["N", len(bias), *head.grid]
    graph.output.append(helper.make_tensor_value_info("cam", TensorProto.FLOAT, shape))
    _drop_unused(graph)
    return changed, ClassMap(tuple(float(b) for b in bias), head.grid)


class _Reader:
    """Walks from ``prob`` backwards."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = onnx.shape_inference.infer_shapes(model).graph
        self._makers = {name: node for node in graph.node for name in node.output}
        self._shapes = {v.name: _dims(v) for v in (*graph.input, *graph.value_info, *graph.output)}
        self._constants = {i.name: i for i in graph.initializer}
        for node in graph.node:
            value = _attributes(node).get("value") if node.op_type == "Constant" else None
            if isinstance(value, onnx.TensorProto):
                self._constants[node.output[0]] = value

    def head(self) -> _Head | None:
        softmax = self._makers.get("prob")
        if softmax is None or softmax.op_type != "Softmax" or _attributes(softmax).get("axis", -1) not in (1, -1):
            return None
        logits = self._passed(softmax.input[0])
        return self._dense_head(logits) or self._convolved_head(logits)

    def _dense_head(self, logits: str) -> _Head | None:
        """Recognise map -> mean -> dense -> softmax."""
        found = self._linear(logits)
        if found is None:
            return None
        flat, kernel, bias = found
        features = self._mean_of(self._passed(flat))
        return None if features is None else self._checked(features, kernel, bias)

    def _convolved_head(self, logits: str) -> _Head | None:
        """Recognise map -> 1x1 convolution -> mean -> softmax, as egfr-dls itself exports it."""
        scores = self._mean_of(logits)
        node = self._makers.get(scores or "")
        if node is None or node.op_type != "Conv" or not _is_pointwise(node):
            return None
        kernel, bias = self._constant(node.input[1]), self._constant(node.input[2]) if len(node.input) > 2 else None
        if kernel is None or kernel.shape[2:] != (1, 1) or (bias is None and len(node.input) > 2):
            return None
        bias = np.zeros(len(kernel)) if bias is None else bias
        return self._checked(node.input[0], kernel[:, :, 0, 0].T, bias)

    def _checked(self, features: str, kernel: Array, bias: Array) -> _Head | None:
        shape = self._shapes.get(features, ())
        if len(shape) != 4 or kernel.ndim != 2 or shape[1] != len(kernel) or bias.shape != kernel.shape[1:]:
            return None
        if kernel.shape[1] < 2 or shape[2] is None or shape[3] is None or kernel.dtype != np.float32:
            return None
        return _Head(features, kernel, bias, (shape[2], shape[3]))

    def _linear(self, name: str) -> tuple[str, Array, Array] | None:
        """Return input, kernel [in, out] and bias of a dense layer: Gemm, or MatMul with or without Add."""
        node = self._makers.get(name)
        if node is None:
            return None
        if node.op_type == "Gemm":
            return self._gemm(node)
        if node.op_type == "MatMul":
            kernel = self._constant(node.input[1])
            return None if kernel is None else (node.input[0], kernel, np.zeros(kernel.shape[-1], np.float32))
        if node.op_type == "Add":
            for product, term in (node.input, reversed(node.input)):
                inner, bias = self._makers.get(product), self._constant(term)
                if inner is not None and inner.op_type == "MatMul" and bias is not None:
                    kernel = self._constant(inner.input[1])
                    return None if kernel is None else (inner.input[0], kernel, bias.reshape(-1))
        return None

    def _gemm(self, node: onnx.NodeProto) -> tuple[str, Array, Array] | None:
        options = _attributes(node)
        kernel = self._constant(node.input[1])
        if (
            kernel is None
            or options.get("transA", 0)
            or (options.get("alpha", 1.0), options.get("beta", 1.0)) != (1.0, 1.0)
        ):
            return None
        kernel = kernel.T if options.get("transB", 0) else kernel
        if len(node.input) < 3:
            return node.input[0], kernel, np.zeros(kernel.shape[-1], np.float32)
        bias = self._constant(node.input[2])
        return None if bias is None else (node.input[0], kernel, bias.reshape(-1))

    def _mean_of(self, name: str) -> str | None:
        """Return the map whose spatial mean this is, with or without a step that drops the two axes."""
        node = self._makers.get(name)
        if node is not None and node.op_type in ("Flatten", "Squeeze", "Reshape"):
            node = self._makers.get(self._passed(node.input[0]))
        if node is None:
            return None
        if node.op_type == "GlobalAveragePool" or (node.op_type == "ReduceMean" and self._axes(node) in SPATIAL):
            return str(node.input[0])
        return None

    def _axes(self, node: onnx.NodeProto) -> tuple[int, ...]:
        stated = _attributes(node).get("axes")
        if stated is None and len(node.input) > 1:
            stated = self._constant(node.input[1])
        return () if stated is None else tuple(int(axis) for axis in stated)

    def _passed(self, name: str) -> str:
        """Return the tensor behind nodes that change nothing once training is over."""
        while (node := self._makers.get(name)) is not None and node.op_type in PASSED:
            name = node.input[0]
        return name

    def _constant(self, name: str) -> Array | None:
        tensor = self._constants.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))


def _is_pointwise(node: onnx.NodeProto) -> bool:
    options = _attributes(node)
    once = all(set(options.get(key, [1])) == {1} for key in ("strides", "dilations"))
    return once and options.get("group", 1) == 1 and set(options.get("pads", [0])) == {0} and "auto_pad" not in options


def _attributes(node: onnx.NodeProto) -> Mapping[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _dims(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    dims: Iterable[Any] = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Take out the nodes and constants that no output needs any more."""
    needed = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for tensor in [t for t in graph.initializer if t.name not in needed]:
        graph.initializer.remove(tensor)
    del graph.value_info[:]
