"""A foreign ONNX file, held against what a package's network may be before anything is computed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from training_export.import_limits import MAX_FILE_BYTES, MAX_NAMES
from training_export.network_refusal import NetworkRefusedError, Reason
from training_export.onnx_import.operators import OPERATORS, OPSETS, STANDARD_DOMAINS

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
PLAIN = (*FLOATS, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
TRAINING_MODE = 2  # which of Dropout's inputs says so
GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
TENSORS = (onnx.AttributeProto.TENSOR, onnx.AttributeProto.TENSORS)
SPARSE = (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS)


def read_onnx_file(path: Path) -> onnx.ModelProto:
    """Return a network of known operators, finite weights and consistent shapes.

    Raises
    ------
    NetworkRefusedError
        the file is damaged, leads to other files, or holds what a package's network may not
    """
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise NetworkRefusedError(
            Reason.FILE_UNREADABLE, f"{path.name}: no ONNX file, or a damaged one: {error}"
        ) from error
    if not model.graph.node or not model.opset_import:
        raise NetworkRefusedError(Reason.FILE_UNREADABLE, f"{path.name}: no ONNX file, or one without a network")
    _check_operators(model)
    for tensor in _tensors(model.graph):
        _check_tensor(tensor)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, RuntimeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise NetworkRefusedError(Reason.FILE_UNREADABLE, f"{path.name}: no valid ONNX: {str(error)[:400]}") from error
    return model


def _check_operators(model: onnx.ModelProto) -> None:
    opset = next((o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS), None)
    if opset not in OPSETS:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"the opset is {opset}; needed: {OPSETS.start} to {OPSETS.stop - 1}"
        )
    if model.functions or model.training_info:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, "the file defines functions of its own; needed: operators alone"
        )
    if len(model.graph.node) > MAX_NAMES:
        raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"the network has {len(model.graph.node)} operations")
    for node in model.graph.node:
        if node.domain not in STANDARD_DOMAINS or node.op_type not in OPERATORS:
            operator = f"{node.domain}:{node.op_type}".lstrip(":")[:120]
            raise NetworkRefusedError(
                Reason.NOT_SUPPORTED, f"operator {operator} (node {node.name[:120]!r}) is none of an image network's"
            )
        if node.op_type == "Dropout" and len(node.input) > TRAINING_MODE and node.input[TRAINING_MODE]:
            raise NetworkRefusedError(Reason.NOT_SUPPORTED, f"Dropout (node {node.name[:120]!r}) acts as in training")
        if any(attribute.type in (*GRAPHS, *SPARSE) for attribute in node.attribute):
            raise NetworkRefusedError(Reason.NOT_SUPPORTED, f"operator {node.op_type} holds a graph or a sparse tensor")


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    if graph.sparse_initializer:
        raise NetworkRefusedError(Reason.NOT_SUPPORTED, "the weights are sparse; needed: plain ones")
    held = [a for node in graph.node for a in node.attribute if a.type in TENSORS]
    return [
        *graph.initializer,
        *(t for a in held for t in ([a.t] if a.type == onnx.AttributeProto.TENSOR else a.tensors)),
    ]


def _check_tensor(tensor: onnx.TensorProto) -> None:
    name = tensor.name[:120] or "a constant"
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise NetworkRefusedError(
            Reason.FILE_UNSAFE, f"{name} lies in another file; save the network as one file, with its weights inside"
        )
    if tensor.data_type not in PLAIN:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"{name} is of type {tensor.data_type}; needed: plain numbers, not quantised ones"
        )
    if any(n < 0 for n in tensor.dims) or math.prod(tensor.dims) * 2 > MAX_FILE_BYTES:
        raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"{name} declares {list(tensor.dims)[:8]} numbers")
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise NetworkRefusedError(
            Reason.FILE_UNREADABLE, f"{name} does not hold the numbers that it declares: {error}"
        ) from error
    if tensor.data_type in FLOATS and not np.isfinite(values).all():
        n = int(values.size - np.isfinite(values).sum())
        raise NetworkRefusedError(Reason.NUMBERS_UNUSABLE, f"{name} holds {n} values that are NaN or infinite")
