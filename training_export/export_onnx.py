"""A trained network as a model package: ONNX, manifest and golden test (schema ``egfr-dls-model/1``)."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.models.manifest import (
    GOLDEN_NAME,
    MANIFEST_NAME,
    NETWORK_NAME,
    SCHEMA,
    Manifest,
    ModelPackage,
    Preprocessing,
)
from training_export.networks import ServedNetwork, SmallResidualNetwork

OPSET = 17
UNSATURATED = (0.1, 0.9)
GOLDEN_NOISES = ((0.0, 0.5), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (5.0, 1.5))  # grain in pixels, contrast
TOLERANCE = {"fp32": {"prob": 1e-5, "cam_rel": 1e-4}}


@dataclass(frozen=True)
class PackageFacts:
    """What a manifest says that the network itself does not know."""

    name: str
    version: str
    status: str
    task: str
    labels: tuple[str, str]
    licence: str
    trained_on: str
    performance: str
    preprocessing: Preprocessing


def export_package(network: SmallResidualNetwork, facts: PackageFacts, folder: Path) -> ModelPackage:
    """Write ``model.onnx``, ``golden.npz`` and ``model.json`` into a folder and read them back, checked."""
    recipe = facts.preprocessing
    data = to_onnx(network, recipe)
    golden = golden_values(data, recipe)
    files = {NETWORK_NAME: data, GOLDEN_NAME: _npz(golden)}
    manifest = Manifest.model_validate(
        {
            "schema": SCHEMA,
            "name": facts.name,
            "version": facts.version,
            "status": facts.status,
            "task": facts.task,
            "licence": facts.licence,
            "trained_on": facts.trained_on,
            "performance": facts.performance,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            "source": {"kind": "pytorch", "torch_version": torch.__version__},
            "input": {"names": input_names(recipe), "shape": (3 // len(input_names(recipe)), recipe.size, recipe.size)},
            "labels": facts.labels,
            "preprocessing": recipe.model_dump(),
            "cam": {"output": "cam", "bias": network.head.bias.tolist(), "grid": golden["cam"].shape[2:]},
            "tolerance": TOLERANCE,
        }
    )
    files[MANIFEST_NAME] = (json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return ModelPackage.read(folder)


def input_names(recipe: Preprocessing) -> tuple[str, ...]:
    """Return the ONNX inputs of an input signature."""
    return ("image",) if recipe.input_signature == "stacked" else recipe.channels


def to_onnx(network: SmallResidualNetwork, recipe: Preprocessing) -> bytes:
    """Return the network as ONNX with dynamic N; outputs ``prob`` and ``cam``, ``prob = softmax(mean(cam))``."""
    names = input_names(recipe)
    image = torch.zeros((2, 3 // len(names), recipe.size, recipe.size))
    outputs = ["prob", "cam"]
    buffer = io.BytesIO()
    torch.onnx.export(
        ServedNetwork(network).eval(),
        (image,) * len(names),
        buffer,
        input_names=list(names),
        output_names=outputs,
        dynamic_axes={name: {0: "N"} for name in (*names, *outputs)},
        opset_version=OPSET,
        dynamo=False,  # the other exporter needs one more package and gives the same graph
    )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def golden_values(network: bytes, recipe: Preprocessing) -> dict[str, NDArray[np.float32]]:
    """Return the golden inputs, scaled until at least two answers are not saturated, and what the CPU makes of them."""
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    names = input_names(recipe)
    for scale in (1.0, 0.5, 0.25, 0.1, 0.05):
        image = golden_inputs(recipe.size) * np.float32(scale)
        feed = dict(zip(names, np.split(image, len(names), axis=1), strict=True))
        prob, cam = session.run(["prob", "cam"], {n: np.ascontiguousarray(v) for n, v in feed.items()})
        if np.count_nonzero((prob[:, 1] > UNSATURATED[0]) & (prob[:, 1] < UNSATURATED[1])) >= 2:
            return {"image": image, "prob": prob, "cam": cam}
    raise ValueError("every golden output is saturated at every scale; a golden test on these could not fail")


def golden_inputs(size: int) -> NDArray[np.float32]:
    """Return eight synthetic images ``[8, 3, size, size]``: five standardised noises, zeros, a checkerboard, a ramp.

    The noises rise in grain and contrast, so that a network that looks for structures of some size answers to them.
    """
    rng = np.random.default_rng(0)
    noises = [contrast * _noise(rng, size, grain) for grain, contrast in GOLDEN_NOISES]
    row, column = np.indices((size, size))
    checkerboard = np.where((row + column) % 2 == 0, 4.0, -4.0)
    ramp = np.linspace(-2.0, 2.0, size * size).reshape(size, size)
    plain = [np.broadcast_to(plane, (3, size, size)) for plane in (np.zeros((size, size)), checkerboard, ramp)]
    return np.stack([*noises, *plain]).astype(np.float32)


def _noise(rng: np.random.Generator, size: int, grain: float) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(rng.standard_normal((3, size, size)), (0.0, grain, grain))
    return np.asarray((noise - noise.mean((1, 2), keepdims=True)) / noise.std((1, 2), keepdims=True))


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
