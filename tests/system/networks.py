"""A network that takes its time."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, LAYERS = 128, 8


def slow_network() -> onnx.ModelProto:
    """Return a network of about 0.3 s an image on one core: 3x3 convolutions of 128 channels at full size."""
    random = np.random.default_rng(3)
    scale = (2.0 / (CHANNELS * 9)) ** 0.5
    weights = {
        "first": random.normal(0, 0.3, (CHANNELS, 3, 3, 3)),
        "again": random.normal(0, scale, (CHANNELS, CHANNELS, 3, 3)),
        "head": random.normal(0, 0.01, (2, CHANNELS, 1, 1)),
        "bias": np.array([0.3, -0.2]),
    }
    nodes = [helper.make_node("Conv", ["image", "first"], ["x0"], pads=[1, 1, 1, 1])]
    for i in range(LAYERS):
        nodes.append(helper.make_node("Conv", [f"x{i}", "again"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"]))
    nodes += [
        helper.make_node("AveragePool", [f"x{LAYERS}"], ["small"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["small", "head", "bias"], ["cam"]),
        helper.make_node("GlobalAveragePool", ["cam"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["prob"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 64, 64])],
        [
            helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["N", 2, 8, 8]),
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
