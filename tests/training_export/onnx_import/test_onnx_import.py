"""ONNX files of others: what becomes a package, with the same answers; what does not, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inference.models.catalogue import SHIPPED
from tests.training_export import onnx_files
from tests.training_export.onnx_files import BODY, GEMM_HEAD, model, weights, write
from training_export.convert import Converted, convert
from training_export.golden import CpuNetwork
from training_export.network_refusal import NetworkRefusedError, Reason

IMAGE = np.random.default_rng(5).normal(0, 1, (3, 3, 8, 8)).astype(np.float32)


def run_network(network: bytes, names: Sequence[str], image: Any) -> Any:
    """Run a network in a plain session."""
    return CpuNetwork(network, names).run(image)


def answers(network: onnx.ModelProto, image: Any = IMAGE) -> Any:
    """Return what the file itself answers."""
    return run_network(network.SerializeToString(), [network.graph.input[0].name], image)[network.graph.output[0].name]


def imported(path: Path, network: onnx.ModelProto) -> Converted:
    """Write and import."""
    return convert(write(path / "net.onnx", network))


def test_a_network_keeps_its_answers_and_gets_maps(tmp_path: Path) -> None:
    """Names are ours, the number of images is free, and softmax of the maps' means is the answer."""
    network = model(inputs={"image": [1, 3, 8, 8]})
    found = imported(tmp_path, network)
    values = run_network(found.network, found.input_names, IMAGE)
    for one, wanted in zip(values["prob"], (answers(network, image[None])[0] for image in IMAGE), strict=True):
        np.testing.assert_allclose(one, wanted, atol=1e-6)
    assert found.input_names == ("image",)
    assert found.class_map is not None
    assert found.class_map.grid == (8, 8)
    assert found.class_map.bias == pytest.approx((0.3, -0.2))
    assert found.source["kind"] == "onnx"
    assert list(values) == ["prob", "cam", "logits"]


def _matmul(*, swapped: bool = False) -> tuple[Any, ...]:
    pooled = (("ReduceMean", ["f"], "g", {"axes": [2, 3], "keepdims": 0}), ("MatMul", ["g", "k"], "m", {}))
    terms = ["b", "m"] if swapped else ["m", "b"]
    return (*BODY, *pooled, ("Add", terms, "s", {}), ("Softmax", ["s"], "out", {}))


def _pointwise(**attributes: Any) -> tuple[Any, ...]:
    head = (("Conv", ["f", "p", "b"], "m", attributes), ("GlobalAveragePool", ["m"], "g", {}))
    return (*BODY, *head, ("Flatten", ["g"], "s", {}), ("Softmax", ["s"], "out", {"axis": 1}))


HEADS: dict[str, tuple[tuple[Any, ...], bool]] = {
    "gemm": ((*BODY, *GEMM_HEAD), True),
    "matmul and add": (_matmul(), True),
    "add the other way round": (_matmul(swapped=True), True),
    "pointwise convolution": (_pointwise(), True),
    "pointwise with a stride": (_pointwise(strides=[2, 2]), False),
    "gemm with alpha": ((*BODY, *GEMM_HEAD[:3], ("Gemm", ["d", "k", "b"], "s", {"alpha": 2.0}), GEMM_HEAD[4]), False),
    "max pooling": ((*BODY, ("GlobalMaxPool", ["f"], "g", {}), *GEMM_HEAD[1:]), False),
    "sigmoid": ((*BODY, *GEMM_HEAD[:4], ("Sigmoid", ["s"], "h", {}), ("Softmax", ["h"], "out", {"axis": 1})), False),
    "hidden layer": (
        (*BODY, *GEMM_HEAD[:3], ("Gemm", ["d", "k"], "h", {}), ("Gemm", ["h", "q", "b"], "s", {}), GEMM_HEAD[4]),
        False,
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_class_maps_are_added_where_the_head_allows_them(tmp_path: Path, head: str) -> None:
    """And the answers stay, with and without."""
    nodes, has_map = HEADS[head]
    held = weights()
    held |= {"p": np.ascontiguousarray(held["k"].T[:, :, None, None]), "q": np.eye(2, dtype=np.float32)}
    used = {name for _, given, _, _ in nodes for name in given}
    network = model(nodes, constants={k: v for k, v in held.items() if k in used})
    found = imported(tmp_path, network)
    values = run_network(found.network, found.input_names, IMAGE)
    np.testing.assert_allclose(values["prob"], answers(network), atol=1e-6)
    assert (found.class_map is not None) == has_map
    if has_map:
        logits = values["cam"].mean((2, 3), dtype=np.float64)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), values["prob"], atol=1e-5)


def test_channels_last_are_transposed(tmp_path: Path) -> None:
    """As tf2onnx leaves them."""
    nodes = (
        (
            "Transpose",
            [
                "image",
            ],
            "x",
            {"perm": [0, 3, 1, 2]},
        ),
        ("Conv", ["x", "w"], "c", {"pads": [1] * 4}),
        BODY[1],
    )
    network = model((*nodes, *GEMM_HEAD), inputs={"image": ["N", 8, 8, 3]})
    found = imported(tmp_path, network)
    assert found.input_shape == (3, 8, 8)
    values = run_network(found.network, found.input_names, IMAGE)
    np.testing.assert_allclose(
        values["prob"], answers(network, np.ascontiguousarray(IMAGE.transpose(0, 2, 3, 1))), atol=1e-6
    )


def test_names_of_the_file_cannot_clash_with_ours(tmp_path: Path) -> None:
    """A hidden tensor may be called prob, cam, image or t3."""
    table = {"c": "prob", "f": "cam", "g": "t3", "l": "c1", "image": "cam_weight", "w": "logits"}
    nodes = [
        (op, [table.get(n, n) for n in given], table.get(made, made), attributes)
        for op, given, made, attributes in (*BODY, *GEMM_HEAD)
    ]
    network = model(
        nodes,
        inputs={"cam_weight": ["N", 3, 8, 8]},
        constants={table.get(name, name): values for name, values in weights().items()},
    )
    found = imported(tmp_path, network)
    np.testing.assert_allclose(run_network(found.network, ("image",), IMAGE)["prob"], answers(network), atol=1e-6)


@pytest.mark.parametrize("name", ["demonstration-egfr-1.0.0", "demonstration-pdl1-1.0.0"])
def test_our_own_exports_come_back_as_they_went(name: str) -> None:
    """One input and three; maps and answers to the last digits."""
    path = SHIPPED / name / "model.onnx"
    found = convert(path)
    with np.load(SHIPPED / name / "golden.npz") as golden:
        values = run_network(found.network, found.input_names, golden["image"])
        np.testing.assert_allclose(values["prob"], golden["prob"], atol=1e-6)
        np.testing.assert_allclose(values["cam"], golden["cam"], atol=1e-4)
    assert found.input_names == (("image",) if "egfr" in name else ("pet", "ct", "fuse"))
    assert found.class_map is not None


Change = Callable[[onnx.ModelProto], object]


def _external(network: onnx.ModelProto) -> None:
    tensor = network.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def _nan(network: onnx.ModelProto) -> None:
    tensor = network.graph.initializer[0]
    tensor.raw_data = np.full(108, np.nan, np.float32).tobytes()


def _huge(network: onnx.ModelProto) -> None:
    network.graph.initializer[0].dims[:] = [1 << 40, 3, 3, 3]


def _short(network: onnx.ModelProto) -> None:
    network.graph.initializer[0].raw_data = b"1234"


def _function(network: onnx.ModelProto) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    network.functions.append(helper.make_function("mine", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))


def _dropout(network: onnx.ModelProto) -> None:
    dropout = next(node for node in network.graph.node if node.op_type == "Dropout")
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "training"))
    dropout.input.extend(["", "training"])


def _branch(network: onnx.ModelProto) -> None:
    network.graph.node[1].attribute.add(name="body", type=onnx.AttributeProto.GRAPH)


def _operator(name: str, domain: str = "") -> Change:
    def change(network: onnx.ModelProto) -> None:
        network.graph.node[1].op_type = name
        network.graph.node[1].domain = domain

    return change


def _type(kind: int) -> Change:
    return lambda network: setattr(network.graph.input[0].type.tensor_type, "elem_type", kind)


def _size(axis: int, value: int | str) -> Change:
    key = "dim_value" if isinstance(value, int) else "dim_param"
    return lambda network: setattr(network.graph.input[0].type.tensor_type.shape.dim[axis], key, value)


def _weight_type(network: onnx.ModelProto) -> None:
    network.graph.initializer[0].data_type = TensorProto.INT8


def _second_output(network: onnx.ModelProto) -> None:
    network.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, ["n", "k"]))


def _dangling(network: onnx.ModelProto) -> None:
    network.graph.node[1].input[0] = "nowhere"


def _circle(network: onnx.ModelProto) -> None:
    network.graph.node[0].input[0] = "f"


def _no_softmax(network: onnx.ModelProto) -> None:
    del network.graph.node[-1]
    network.graph.output[0].name = "s"


def _map_output(network: onnx.ModelProto) -> None:
    network.graph.output[0].CopyFrom(helper.make_tensor_value_info("f", TensorProto.FLOAT, ["n", "c", "h", "w"]))


HOSTILE: dict[str, tuple[Change, Reason, str]] = {
    "external data": (_external, Reason.FILE_UNSAFE, "another file"),
    "NaN": (_nan, Reason.NUMBERS_UNUSABLE, "108 values"),
    "huge tensor": (_huge, Reason.LIMIT_EXCEEDED, "declares"),
    "short tensor": (_short, Reason.FILE_UNREADABLE, "does not hold"),
    "functions": (_function, Reason.NOT_SUPPORTED, "functions of its own"),
    "subgraph": (_branch, Reason.NOT_SUPPORTED, "holds a graph"),
    "dropout that acts": (_dropout, Reason.NOT_SUPPORTED, "acts as in training"),
    "loop": (_operator("Loop"), Reason.NOT_SUPPORTED, "operator Loop"),
    "expansion": (_operator("ConstantOfShape"), Reason.NOT_SUPPORTED, "operator ConstantOfShape"),
    "foreign operator": (_operator("Relu", "com.microsoft"), Reason.NOT_SUPPORTED, "com.microsoft:Relu"),
    "old opset": (lambda n: setattr(n.opset_import[0], "version", 7), Reason.NOT_SUPPORTED, "the opset is 7"),
    "input type": (_type(TensorProto.UINT8), Reason.FILE_UNREADABLE, "no valid ONNX"),
    "any size": (_size(2, "H"), Reason.NOT_SUPPORTED, "all but N stated"),
    "huge image": (_size(2, 1 << 40), Reason.LIMIT_EXCEEDED, "input image"),
    "quantised": (_weight_type, Reason.NOT_SUPPORTED, "not quantised ones"),
    "two outputs": (_second_output, Reason.NOT_SUPPORTED, "the outputs are out, s"),
    "dangling": (_dangling, Reason.FILE_UNREADABLE, "no valid ONNX"),
    "circle": (_circle, Reason.FILE_UNREADABLE, "no valid ONNX"),
    "logits": (_no_softmax, Reason.NUMBERS_UNUSABLE, "is no probability"),
    "a map": (_map_output, Reason.NOT_SUPPORTED, "the number of classes"),
    "no nodes": (lambda n: n.graph.ClearField("node"), Reason.FILE_UNREADABLE, "without a network"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_files_that_are_no_image_classifier_are_refused(tmp_path: Path, kind: str) -> None:
    """Each with its reason and what is wrong."""
    change, reason, said = HOSTILE[kind]
    network = model()
    change(network)
    with pytest.raises(NetworkRefusedError) as caught:
        imported(tmp_path, network)
    assert caught.value.reason is reason
    assert said in caught.value.message


def test_an_answer_must_not_depend_on_the_images_beside(tmp_path: Path) -> None:
    """A network that normalises over the batch would score a slice by its neighbours."""
    nodes = (
        *BODY,
        ("ReduceMean", ["f"], "over", {"axes": [0], "keepdims": 1}),
        ("Sub", ["f", "over"], "h", {}),
        ("GlobalMaxPool", ["h"], "g", {}),
        *GEMM_HEAD[1:],
    )
    with pytest.raises(NetworkRefusedError, match="the images beside it"):
        imported(tmp_path, model(nodes))


def test_a_fixed_batch_inside_is_refused(tmp_path: Path) -> None:
    """A Reshape to one image cannot take eight."""
    nodes = (*BODY, ("GlobalMaxPool", ["f"], "g", {}), ("Reshape", ["g", "shape"], "l", {}), *GEMM_HEAD[2:])
    network = model(nodes, constants={**weights(), "shape": np.array([1, 4], np.int64)})
    with pytest.raises(NetworkRefusedError) as caught:
        imported(tmp_path, network)
    assert caught.value.reason is Reason.NOT_SUPPORTED


FOREIGN: dict[str, tuple[bytes, Reason]] = {
    "empty": (b"", Reason.FILE_UNREADABLE),
    "pickle 2": (b"\x80\x02cos\nsystem\nq\x00.", Reason.FILE_UNSAFE),
    "pickle 5": (b"\x80\x05\x95\x00.", Reason.FILE_UNSAFE),
    "pickle 0": (b"cos\nsystem\n(S'true'\ntR.", Reason.FILE_UNREADABLE),
    "zip": (b"PK\x03\x04rest", Reason.NOT_SUPPORTED),
    "npy": (b"\x93NUMPY\x01\x00", Reason.NOT_SUPPORTED),
    "web page": (b"<!DOCTYPE html>", Reason.FILE_UNREADABLE),
    "LFS": (b"version https://git-lfs.github.com/spec/v1", Reason.FILE_UNREADABLE),
    "zeros": (bytes(5000), Reason.FILE_UNREADABLE),
    "HDF5's first bytes alone": (b"\x89HDF\r\n\x1a\n", Reason.FILE_UNREADABLE),
    "HDF5 behind a block": (bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(99), Reason.FILE_UNREADABLE),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_files_are_refused_for_what_they_are(tmp_path: Path, kind: str) -> None:
    """Whatever their name says; a pickle is never opened."""
    data, reason = FOREIGN[kind]
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(NetworkRefusedError) as caught:
        convert(path)
    assert caught.value.reason is reason


def test_the_helpers_write_a_valid_network() -> None:
    """So that a refusal is of what was changed."""
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(onnx_files.model()))
