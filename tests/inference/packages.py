"""Tiny networks in complete model packages, built in milliseconds, for every test that needs one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FEATURES = 4
BIAS = (0.3, -0.2)


def network(
    seed: int = 0,
    bias: tuple[float, float] = BIAS,
    *,
    planes: bool = False,
    cam: bool = True,
    logits: bool = False,
) -> onnx.ModelProto:
    """Return a network as packages need it: convolution, ReLU, 1x1 convolution (the class map), mean, softmax.

    The feature map is an intermediate named ``features`` ``[N, 4, 8, 8]``; weights are random but fixed by ``seed``.
    """
    random = np.random.default_rng(seed)
    weights = {
        "body": random.normal(0, 0.3, (FEATURES, 3, 8, 8)).astype(np.float32),
        "head": random.normal(0, 0.5, (2, FEATURES, 1, 1)).astype(np.float32),
        "bias": np.array(bias, np.float32),
    }
    names = ["pet", "ct", "fuse"] if planes else ["image"]
    join = [helper.make_node("Concat", names, ["image"], axis=1)] if planes else []
    nodes = [
        *join,
        helper.make_node("Conv", ["image", "body"], ["convolved"], strides=[8, 8]),
        helper.make_node("Relu", ["convolved"], ["features"]),
        helper.make_node("Conv", ["features", "head", "bias"], ["cam"]),
        helper.make_node("GlobalAveragePool", ["cam"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["prob"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 1 if planes else 3, 64, 64]) for n in names]
    outputs = [helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["N", 2])]
    if cam:
        outputs.append(helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["N", 2, 8, 8]))
    if logits:
        outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2]))
    graph = helper.make_graph(
        nodes, "tiny", inputs, outputs, [numpy_helper.from_array(value, name) for name, value in weights.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Run a network with a plain session, independently of the product's engine."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    feed = dict(zip(names, np.split(image, len(names), axis=1), strict=True))
    outputs = [o.name for o in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, feed), strict=True))


def golden_images(n: int = 8) -> NDArray[np.float32]:
    """Return standardised random images ``[n, 3, 64, 64]``."""
    return np.random.default_rng(7).normal(size=(n, 3, 64, 64)).astype(np.float32)


def manifest(model: onnx.ModelProto, **changes: Any) -> dict[str, Any]:
    """Return a valid ``model.json`` for a network, with top-level keys replaced."""
    planes = len(model.graph.input) == 3
    cam, logits = (any(o.name == name for o in model.graph.output) for name in ("cam", "logits"))
    bias = next(numpy_helper.to_array(i).tolist() for i in model.graph.initializer if i.name == "bias")
    return {
        "schema": "egfr-dls-model/1",
        "name": "tiny",
        "version": "1.0.0",
        "status": "demonstration",
        "task": "pdl1" if planes else "egfr",
        "licence": "none",
        "trained_on": "nothing",
        "performance": "none",
        "files": {},
        "input": {"names": ["pet", "ct", "fuse"] if planes else ["image"], "shape": [1 if planes else 3, 64, 64]},
        "labels": ["wild type", "mutant"],
        "preprocessing": {
            "id": "mu2020-hyperimage-1",
            "input_signature": "planes" if planes else "stacked",
        },
        "cam": {"output": "cam", "bias": bias, "grid": [8, 8]} if cam else None,
        "logits": "logits" if logits else None,
        "tolerance": {"fp32": {"prob": 1e-5, "cam_rel": 1e-4}},
        **changes,
    }


def write_package(
    folder: Path,
    model: onnx.ModelProto | None = None,
    golden: Mapping[str, NDArray[Any]] | None = None,
    **changes: Any,
) -> Path:
    """Write a complete package whose digests and golden values fit; ``changes`` replace keys of the manifest.

    ``golden`` are other golden values than the network's own.
    """
    model = model or network()
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    image = golden_images()
    arrays = {"image": image, **run(model, image)} if golden is None else golden
    np.savez(folder / "golden.npz", **arrays)  # type: ignore[arg-type]  # numpy types the keywords as one bool
    document = manifest(model, **changes)
    if "files" not in changes:
        document["files"] = digests(folder)
    (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Return the ``files`` block of a package folder."""
    return {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in ("model.onnx", "golden.npz")}


def state_digests(folder: Path) -> None:
    """State the digests that the files of a package have now: a package that was made so."""
    path = folder / "model.json"
    document = json.loads(path.read_text(encoding="utf-8")) | {"files": digests(folder)}
    path.write_text(json.dumps(document), encoding="utf-8")
