"""An ONNX graph while it is written: nodes, constants and the shape of each tensor."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training_export.import_limits import MAX_ELEMENTS, MAX_NAMES
from training_export.network_refusal import NetworkRefusedError, Reason

OPSET = 17
IR_VERSION = 8


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph; ``shape`` is (channels, rows, columns) or (features,), without the images' axis."""

    name: str
    shape: tuple[int, ...]

    @property
    def is_map(self) -> bool:
        """Whether it has rows and columns."""
        return len(self.shape) == 3


class GraphWriter:
    """Collects nodes and constants; names are numbers of ours, so that none comes from a file."""

    def __init__(self, inputs: Mapping[str, tuple[int, int, int]]) -> None:
        self.inputs = tuple(Tensor(name, shape) for name, shape in inputs.items())
        self.label = ""  # the layer at work, for messages
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[Any, ...], tuple[str, onnx.TensorProto]] = {}
        for tensor in self.inputs:
            self._check_size(tensor.shape)

    def node(self, operator: str, inputs: Sequence[Tensor | str], shape: tuple[int, ...], **attributes: Any) -> Tensor:
        """Add a node of one output, whose shape the caller knows."""
        if len(self._nodes) >= MAX_NAMES:
            raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"the network has more than {MAX_NAMES} operations")
        self._check_size(shape)
        output = Tensor(f"t{len(self._nodes)}", shape)
        names = [i if isinstance(i, str) else i.name for i in inputs]
        self._nodes.append(helper.make_node(operator, names, [output.name], **attributes))
        return output

    def constant(self, values: NDArray[Any]) -> str:
        """Return the name of a constant; equal ones are kept once."""
        array = np.ascontiguousarray(values)
        key = (array.dtype.str, array.shape, hashlib.sha256(array.data).digest())
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = (name, numpy_helper.from_array(array, name))
        return self._constants[key][0]

    def model(self, output: Tensor) -> onnx.ModelProto:
        """Return the whole network; its answer is named ``prob``."""
        if output in self.inputs:
            raise NetworkRefusedError(Reason.NOT_SUPPORTED, "the network gives back its own input")
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = ["prob" if name == output.name else name for name in names]
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, ["N", *t.shape]) for t in self.inputs],
            [helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["N", *output.shape])],
            [tensor for _, tensor in self._constants.values()],
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="egfr-dls"
        )

    def _check_size(self, shape: tuple[int, ...]) -> None:
        if min(shape) < 1:
            raise NetworkRefusedError(
                Reason.NOT_SUPPORTED, f"{self.label}: nothing is left of the image: {list(shape)}"
            )
        if math.prod(shape) > MAX_ELEMENTS:
            raise NetworkRefusedError(
                Reason.LIMIT_EXCEEDED,
                f"{self.label}: one image becomes {list(shape)}, more than {MAX_ELEMENTS} numbers",
            )
