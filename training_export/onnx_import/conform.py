"""Gives an ONNX network the inputs and the output of a model package: names, axes and any number of images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper

from training_export.import_limits import MAX_ELEMENTS
from training_export.network_inputs import Shape, input_names
from training_export.network_refusal import NetworkRefusedError, Reason

CHANNELS = (1, 3)  # of images; tells [N, channels, rows, columns] from [N, rows, columns, channels]
IR_VERSION = 8
Dims = tuple[int | None, ...]


def conform(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with inputs ``[N, channels, rows, columns]`` and the one output ``prob`` ``[N, classes]``.

    Inputs with the channels last get a transposition. Every name is replaced by one of ours.

    Raises
    ------
    NetworkRefusedError
        inputs or outputs are not those of an image classifier
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    layouts = [_layout(value) for value in inputs]
    names = input_names([shape for shape, _ in layouts])
    output = _output(model)
    graph = helper.make_graph([], "network", [], [helper.make_tensor_value_info("prob", TensorProto.FLOAT, None)])
    table = {"": "", output: "prob"}
    for value, name, (shape, channels_last) in zip(inputs, names, layouts, strict=True):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]))
        table[value.name] = f"{name}_last" if channels_last else name
        if channels_last:
            graph.node.append(helper.make_node("Transpose", [name], [table[value.name]], perm=[0, 2, 3, 1]))
    _copy(model.graph, graph, table)
    _drop_weights_unused(graph)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION, producer_name="egfr-dls"
    )
    return _with_shapes(made)


def _layout(value: onnx.ValueInfoProto) -> tuple[Shape, bool]:
    """Return (channels, rows, columns) of an input and whether the file has the channels last."""
    dims = _dims(value)
    if value.type.tensor_type.elem_type != TensorProto.FLOAT or len(dims) != 4 or None in dims[1:]:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED,
            f"input {value.name[:120]} is {list(dims)} of type {value.type.tensor_type.elem_type}; needed: float32 "
            "[N, channels, rows, columns], all but N stated",
        )
    _, first, second, third = (n or 0 for n in dims)
    if min(first, second, third) < 1 or first * second * third > MAX_ELEMENTS:
        raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"input {value.name[:120]} is {list(dims)}")
    if third in CHANNELS and first not in CHANNELS:
        return (third, first, second), True
    return (first, second, third), False


def _output(model: onnx.ModelProto) -> str:
    names = [value.name for value in model.graph.output]
    if len(names) == 1 or "prob" in names:
        return names[0] if len(names) == 1 else "prob"
    raise NetworkRefusedError(
        Reason.NOT_SUPPORTED, f"the outputs are {', '.join(names)[:200]}; needed: one, or one that is named prob"
    )


def _copy(source: onnx.GraphProto, target: onnx.GraphProto, table: dict[str, str]) -> None:
    """Append the nodes and weights that lead to ``prob``, every tensor under a number of ours."""
    for tensor in source.initializer:
        copied = target.initializer.add()
        copied.CopyFrom(tensor)
        copied.name = table.setdefault(tensor.name, f"c{len(table)}")
        copied.doc_string = ""
    for node in source.node:
        copied_node = target.node.add()
        copied_node.CopyFrom(node)
        copied_node.name, copied_node.doc_string, copied_node.domain = "", "", ""
        for names in (copied_node.input, copied_node.output):
            names[:] = [table.setdefault(name, f"t{len(table)}") for name in names]
    needed = {"prob"}
    for node in reversed(list(target.node)):
        if needed.isdisjoint(node.output):
            target.node.remove(node)
        else:
            needed.update(node.input)


def _drop_weights_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """State the output's size and refuse tensors that are too large for one image."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"the network does not take any number of images: {str(error)[:400]}"
        ) from error
    shapes: Mapping[str, Dims] = {v.name: _dims(v) for v in (*inferred.graph.value_info, *inferred.graph.output)}
    for dims in shapes.values():
        if math.prod(n for n in dims if n) > MAX_ELEMENTS:
            raise NetworkRefusedError(
                Reason.LIMIT_EXCEEDED, f"one image becomes {list(dims)}, more than {MAX_ELEMENTS} numbers"
            )
    prob = shapes.get("prob", ())
    if len(prob) != 2 or not prob[1]:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"the output is {list(prob)}; needed: [N, classes], the number of classes stated"
        )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["N", prob[1]]))
    return model


def _dims(value: onnx.ValueInfoProto) -> Dims:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)
