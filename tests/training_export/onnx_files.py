"""Small ONNX networks as other exporters write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def weights(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return a convolution, a dense layer and its bias."""
    random = np.random.default_rng(seed)
    return {
        "w": random.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
        "k": random.normal(0, 1, (4, 2)).astype(np.float32),
        "b": np.array([0.3, -0.2], np.float32),
    }


BODY = (("Conv", ["image", "w"], "c", {"pads": [1, 1, 1, 1]}), ("Relu", ["c"], "f", {}))
GEMM_HEAD = (
    ("GlobalAveragePool", ["f"], "g", {}),
    ("Flatten", ["g"], "l", {}),
    ("Dropout", ["l"], "d", {}),
    ("Gemm", ["d", "k", "b"], "s", {}),
    ("Softmax", ["s"], "out", {"axis": 1}),
)
Node = tuple[str, Sequence[str], str, dict[str, Any]]


def model(
    nodes: Sequence[Node] = (*BODY, *GEMM_HEAD),
    *,
    inputs: dict[str, list[Any]] | None = None,
    outputs: Sequence[str] = ("out",),
    constants: dict[str, NDArray[Any]] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """Return a network; by default one of three channels, 8 x 8 pixels and two classes."""
    held = weights() if constants is None else constants
    graph = helper.make_graph(
        [helper.make_node(op, list(given), [made], **attributes) for op, given, made, attributes in nodes],
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (inputs or {"image": ["batch", 3, 8, 8]}).items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "classes"]) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write(path: Path, network: onnx.ModelProto) -> Path:
    """Write a network without any check."""
    path.write_bytes(network.SerializeToString())
    return path
