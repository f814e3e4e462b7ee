"""The fp16 variant computes the same within its tolerance, in the form that other engines take, or there is none."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.inference import packages
from tests.training_export import onnx_files
from training_export import half_precision as module
from training_export.class_map import with_class_map
from training_export.golden import CpuNetwork, golden_inputs
from training_export.half_precision import NoHalfPrecisionError, half_or_reason, half_precision, half_variant
from training_export.logits import with_logits
from training_export.onnx_import.conform import conform


def network(*nodes: onnx_files.Node) -> onnx.ModelProto:
    """An imported network as it goes into a package."""
    made, _ = with_class_map(conform(onnx_files.model(nodes or (*onnx_files.BODY, *onnx_files.GEMM_HEAD))))
    return with_logits(made)[0]


def answers(
    model: onnx.ModelProto | bytes, names: tuple[str, ...] = ("image",), size: int = 8
) -> dict[str, NDArray[np.float32]]:
    """What it makes of the golden images."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return CpuNetwork(content, names).run(golden_inputs((3, size, size)))


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every weight, by the node that takes it."""
    held = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {node.output[0]: held[name] for node in model.graph.node for name in node.input[1:2] if name in held}


def test_the_body_is_half_and_the_head_is_not() -> None:
    """Inputs, last layer, softmax and outputs stay float32: TensorRT takes precision from the graph alone."""
    whole = network()
    model = onnx.load_from_string(half_precision(whole))
    ends = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert ends == dict.fromkeys(("image", "prob", "cam", "logits"), TensorProto.FLOAT)
    found = types(model)
    assert found["cam"] == TensorProto.FLOAT
    assert [kind for name, kind in found.items() if name != "cam"] == [TensorProto.FLOAT16]
    casts = [helper.get_attribute_value(node.attribute[0]) for node in model.graph.node if node.op_type == "Cast"]
    assert casts == [TensorProto.FLOAT16, TensorProto.FLOAT], (
        "in, and out before the head; nothing is rounded behind it"
    )
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    onnx.checker.check_model(model, full_check=True)


def test_it_differs_by_rounding_alone() -> None:
    """Close to the network it came from, and not the same: the test would see a copy."""
    whole = network()
    full, half = answers(whole), answers(half_precision(whole))
    for name, values in full.items():
        difference = float(np.abs(values - half[name]).max())
        assert 0 < difference < 5e-3 * max(1.0, float(np.abs(values).max())), name


def test_a_network_of_three_planes() -> None:
    """One cast an input."""
    whole = with_logits(packages.network(planes=True))[0]
    names = ("pet", "ct", "fuse")
    full, half = answers(whole, names, 64), answers(half_precision(whole), names, 64)
    np.testing.assert_allclose(half["prob"], full["prob"], atol=1e-3)


B = onnx_files.BODY
ODD: dict[str, tuple[onnx_files.Node, ...]] = {
    "a hidden dense layer": (
        *B, ("GlobalAveragePool", ["f"], "g", {}), ("Flatten", ["g"], "l", {}), ("MatMul", ["l", "k"], "m", {}),
        ("Relu", ["m"], "r", {}), ("Softmax", ["r"], "out", {"axis": 1}),
    ),
    "a bias of its own": (
        *B, ("GlobalAveragePool", ["f"], "g", {}), ("Flatten", ["g"], "l", {}), ("MatMul", ["l", "k"], "m", {}),
        ("Add", ["m", "b"], "s", {}), ("Softmax", ["s"], "out", {"axis": 1}),
    ),
    "a weight that body and head share": (
        *B, ("GlobalAveragePool", ["f"], "g", {}), ("Flatten", ["g"], "l", {}), ("MatMul", ["l", "k"], "m0", {}),
        ("Add", ["m0", "b"], "m1", {}), ("Transpose", ["k"], "t", {"perm": [1, 0]}), ("MatMul", ["m1", "t"], "m2", {}),
        ("MatMul", ["m2", "k"], "m", {}), ("Add", ["m", "b"], "s", {}), ("Softmax", ["s"], "out", {"axis": 1}),
    ),
    "two ways into the head": (
        *B, ("GlobalAveragePool", ["f"], "g", {}), ("GlobalMaxPool", ["f"], "h", {}), ("Add", ["g", "h"], "a", {}),
        ("Flatten", ["a"], "l", {}), ("MatMul", ["l", "k"], "m", {}), ("Mul", ["m", "x"], "s", {}),
        ("Softmax", ["s"], "out", {"axis": 1}),
    ),
    "an operator that has no fp16": (
        *B, ("Max", ["f", "w0"], "e", {}), ("GlobalAveragePool", ["e"], "g", {}), ("Flatten", ["g"], "l", {}),
        ("Gemm", ["l", "k", "b"], "s", {}), ("Softmax", ["s"], "out", {"axis": 1}),
    ),
    "one sigmoid": (
        *B, ("GlobalAveragePool", ["f"], "g", {}), ("Flatten", ["g"], "l", {}), ("MatMul", ["l", "k1"], "s", {}),
        ("Sigmoid", ["s"], "out", {}),
    ),
    "no layer with weights before the softmax": (
        ("Conv", ["image", "w2"], "c", {}), ("GlobalAveragePool", ["c"], "g", {}), ("Flatten", ["g"], "l", {}),
        ("Softmax", ["l"], "out", {"axis": 1}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", ODD)
def test_networks_of_other_forms(form: str) -> None:
    """Wherever the head begins; one that is nothing but a head has no variant."""
    held = onnx_files.weights() | {
        "w0": np.full((1, 4, 1, 1), 0.05, np.float32),
        "w2": onnx_files.weights()["w"][:2],
        "k1": onnx_files.weights()["k"][:, :1],
        "x": np.array([0.5], np.float32),
    }
    whole = with_logits(with_class_map(conform(onnx_files.model(ODD[form], constants=held)))[0])[0]
    full = answers(whole)
    if form == "no layer with weights before the softmax":
        with pytest.raises(NoHalfPrecisionError, match="one layer"):
            half_precision(whole)
        return
    variant = half_variant(whole.SerializeToString(), ("image",), {"image": golden_inputs((3, 8, 8)), **full})
    np.testing.assert_allclose(answers(variant)["prob"], full["prob"], atol=1e-3)


def test_weights_beyond_fp16_are_no_variant() -> None:
    """1e6 becomes 65504: the answers tell, and the reason is kept."""
    held = onnx_files.weights()
    held["w"] *= np.float32(1e7)
    held["k"] *= np.float32(1e-7)
    whole = with_logits(with_class_map(conform(onnx_files.model(constants=held)))[0])[0]
    golden = {"image": golden_inputs((3, 8, 8)), **answers(whole)}
    half, left_out = half_or_reason(whole.SerializeToString(), ("image",), golden)
    assert half is None
    assert "tolerance.fp16" in left_out["fp16"] or "finite" in left_out["fp16"]


def test_a_network_that_the_tool_cannot_convert_is_no_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any fault of the tool is a reason, never the end of an import."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("defect of the tool")

    monkeypatch.setattr(module, "_converter", lambda: broken)
    whole = network()
    half, left_out = half_or_reason(
        whole.SerializeToString(), ("image",), {"image": golden_inputs((3, 8, 8)), **answers(whole)}
    )
    assert (half, left_out) == (None, {"fp16": "KeyError: 'defect of the tool'"})


def test_a_large_network_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool holds it several times."""
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(NoHalfPrecisionError, match="at most"):
        half_variant(network().SerializeToString(), ("image",), {})


def test_the_tool_leaves_no_folder_on_the_path() -> None:
    """Importing it puts one there, of modules named `models`, `benchmark` and the like."""
    half_precision(network())
    assert not [entry for entry in sys.path if "transformers" in entry]


def test_the_same_network_gives_the_same_bytes() -> None:
    """So that a package can be made again."""
    assert half_precision(network()) == half_precision(network())


def test_constants_that_are_nodes_become_weights() -> None:
    """Exporters write either."""
    model = onnx_files.model()
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    model.graph.initializer.remove(held["k"])
    model.graph.node.insert(
        0, helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(onnx_files.weights()["k"]))
    )
    whole = with_logits(conform(model))[0]
    np.testing.assert_allclose(answers(half_precision(whole))["prob"], answers(whole)["prob"], atol=1e-3)
