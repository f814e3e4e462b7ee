"""The fp16 variant of a network: its body in half precision; inputs, last layer, softmax and outputs stay float32.

The body is converted by ONNX Runtime's own tool (``onnxruntime.transformers.float16``), which knows the operators that
must not be; the head is taken off before, because the tool would round what leaves it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from inference.engine.contract import Result
from inference.engine.deviation import deviation, fault
from training_export.golden import CpuNetwork
from training_export.package_writer import TOLERANCE

LINEAR = ("Conv", "Gemm", "MatMul")
MAX_BYTES = 256 << 20  # of a network that is converted; the tool holds it several times


class NoHalfPrecisionError(Exception):
    """The network has no fp16 variant; the message says why."""


def half_or_reason(
    network: bytes, names: Sequence[str], golden: Mapping[str, NDArray[np.float32]]
) -> tuple[bytes | None, dict[str, str]]:
    """Return the fp16 variant, or None and why there is none (``left_out`` of the manifest)."""
    try:
        return half_variant(network, names, golden), {}
    except NoHalfPrecisionError as error:
        return None, {"fp16": str(error)}


def half_variant(network: bytes, names: Sequence[str], golden: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Return the fp16 variant of a network whose golden values it gives within the tolerance of fp16.

    Raises
    ------
    NoHalfPrecisionError
        there is none, or it computes something else
    """
    if len(network) > MAX_BYTES:
        raise NoHalfPrecisionError(
            f"the network holds {len(network) >> 20} MB; at most {MAX_BYTES >> 20} are converted"
        )
    try:
        variant = half_precision(onnx.load_from_string(network))
        answers = CpuNetwork(variant, names).run(golden["image"])
    except NoHalfPrecisionError:
        raise
    except Exception as error:  # checker, tool and engine raise classes that have no other ancestor
        raise NoHalfPrecisionError(f"{type(error).__name__}: {str(error)[:300]}") from error
    found = deviation(golden, Result(answers["prob"], answers.get("cam"), 0.0, answers.get("logits")))
    if (wrong := fault(found, TOLERANCE["fp16"], "fp16", "onnxruntime")) is not None:
        raise NoHalfPrecisionError(wrong)
    return variant


def half_precision(model: onnx.ModelProto) -> bytes:
    """Return the network with its body in fp16, checked; raises NoHalfPrecisionError where it is nothing but a head."""
    whole = onnx.shape_inference.infer_shapes(model)
    _constants_to_initializers(whole.graph)
    head = _head(whole.graph)
    in_head = {node.output[0] for node in head}
    body = [node for node in whole.graph.node if node.output[0] not in in_head]
    if not body:
        raise NoHalfPrecisionError("the network is one layer, which stays float32")
    made = _converter()(_part(whole, body, _crossing(body, head)), keep_io_types=True, disable_shape_infer=True)
    _append(made.graph, head, whole.graph)
    _sort(made.graph)
    del made.graph.value_info[:]  # stated for the network before
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def _converter() -> Callable[..., Any]:
    """Return ONNX Runtime's tool; importing it puts a folder on ``sys.path``, which is taken off again."""
    before = list(sys.path)
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    finally:
        sys.path[:] = before
    converter: Callable[..., Any] = convert_float_to_float16
    return converter


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if value is not None:
            graph.initializer.add().CopyFrom(value)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)


def _head(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the last layer with weights before ``prob``, and everything after it, in the graph's order."""
    makers = {name: node for node in graph.node for name in node.output}
    node = makers["prob"]
    while (
        node.op_type not in LINEAR
        and (before := next((makers[n] for n in node.input if n in makers), None)) is not None
    ):
        node = before
    reached, head = set(node.output), []
    for candidate in graph.node:
        if candidate.output[0] in node.output or not reached.isdisjoint(candidate.input):
            head.append(candidate)
            reached.update(candidate.output)
    return head


def _crossing(body: Sequence[onnx.NodeProto], head: Iterable[onnx.NodeProto]) -> list[str]:
    """Return the tensors that the head takes from the body."""
    made = {name for node in body for name in node.output}
    return sorted({name for node in head for name in node.input} & made)


def _part(whole: onnx.ModelProto, body: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the body as a network of its own, whose outputs are what the head takes."""
    stated = {value.name: value for value in (*whole.graph.value_info, *whole.graph.output)}
    if unknown := [name for name in outputs if name not in stated]:
        raise NoHalfPrecisionError(f"the type of {unknown[0]} between body and last layer cannot be told")
    part = onnx.ModelProto()
    part.CopyFrom(whole)
    graph = part.graph
    for field in (graph.node, graph.output, graph.initializer, graph.value_info):
        del field[:]
    used = {name for node in body for name in node.input}
    graph.node.extend(body)
    graph.initializer.extend(tensor for tensor in whole.graph.initializer if tensor.name in used)
    graph.output.extend(stated[name] for name in outputs)
    makes = {name for node in body for name in node.output}
    graph.value_info.extend(value for name, value in stated.items() if name in makes and name not in outputs)
    return part


def _append(graph: onnx.GraphProto, head: Sequence[onnx.NodeProto], whole: onnx.GraphProto) -> None:
    """Put the head behind the converted body, with weights of its own, and restore the outputs."""
    weights = {tensor.name: tensor for tensor in whole.initializer}
    for node in head:
        graph.node.add().CopyFrom(node)
        graph.node[-1].input[:] = [f"head_{name}" if name in weights else name for name in node.input]
    for name in sorted({name for node in head for name in node.input} & weights.keys()):
        graph.initializer.add().CopyFrom(weights[name])
        graph.initializer[-1].name = f"head_{name}"
    del graph.output[:]
    graph.output.extend(whole.output)


def _sort(graph: onnx.GraphProto) -> None:
    """Put every node behind those that it needs: the tool appends its casts at the end."""
    nodes = list(graph.node)
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    order = TopologicalSorter(
        {index: [makers[name] for name in node.input if name in makers] for index, node in enumerate(nodes)}
    )
    sorted_nodes = [nodes[index] for index in order.static_order()]
    del graph.node[:]
    graph.node.extend(sorted_nodes)
