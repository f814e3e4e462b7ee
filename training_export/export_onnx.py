"""A trained network as a model package: ONNX, manifest and golden test (schema ``egfr-dls-model/1``)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from inference.models.manifest import ModelPackage, Preprocessing
from training_export.golden import CpuNetwork, golden_values
from training_export.networks import ServedNetwork, SmallResidualNetwork
from training_export.package_writer import write_package

OPSET = 17


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
    data, names = to_onnx(network, recipe), input_names(recipe)
    shape = (3 // len(names), recipe.size, recipe.size)
    golden = golden_values(CpuNetwork(data, names), shape)
    if golden.saturated:
        raise ValueError("every golden output is saturated at every scale; a golden test on these could not fail")
    manifest = {
        "name": facts.name,
        "version": facts.version,
        "status": facts.status,
        "task": facts.task,
        "licence": facts.licence,
        "trained_on": facts.trained_on,
        "performance": facts.performance,
        "source": {"kind": "pytorch", "torch_version": torch.__version__},
        "input": {"names": names, "shape": shape},
        "labels": facts.labels,
        "preprocessing": recipe.model_dump(),
        "cam": {"output": "cam", "bias": network.head.bias.tolist(), "grid": golden.arrays["cam"].shape[2:]},
    }
    return write_package(folder, manifest, data, golden.arrays)


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
