"""A trained network as a model package: ONNX, manifest and golden test (schema ``egfr-dls-model/1``)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch

from inference.models.card import Card
from inference.models.manifest import ModelPackage, Preprocessing
from training_export.class_map_network import ClassMapNetwork
from training_export.golden import CpuNetwork, Shape, golden_values
from training_export.half_precision import half_or_reason
from training_export.logits import with_logits
from training_export.networks import ServedNetwork
from training_export.package_writer import write_package

OPSET = 17


@dataclass(frozen=True)
class PackageFacts:
    """What a manifest says that the network itself does not know.

    ``input_shape`` are channels, rows and columns of one image; ``preprocessing`` is None where no biomarker makes such
    images; ``provenance`` stands in the manifest's ``source`` beside the version of PyTorch.
    """

    name: str
    version: str
    status: str
    task: str
    labels: tuple[str, str]
    licence: str
    trained_on: str
    performance: str
    preprocessing: Preprocessing | None
    input_shape: Shape
    provenance: Mapping[str, str] = field(default_factory=dict)
    card: Card | None = None


def export_package(network: ClassMapNetwork, facts: PackageFacts, folder: Path) -> ModelPackage:
    """Write networks (float32 and, where it computes the same, fp16), golden values, card and manifest; read them back."""
    recipe = facts.preprocessing
    names = input_names(recipe)
    channels, rows, columns = facts.input_shape
    shape = (channels // len(names), rows, columns)
    data = to_onnx(network, names, shape)
    golden = golden_values(CpuNetwork(data, names), shape)
    half, left_out = half_or_reason(data, names, golden.arrays)
    manifest = {
        "name": facts.name,
        "version": facts.version,
        "status": facts.status,
        "task": facts.task,
        "licence": facts.licence,
        "trained_on": facts.trained_on,
        "performance": facts.performance,
        "source": {"kind": "pytorch", "torch_version": torch.__version__, **facts.provenance},
        "input": {"names": names, "shape": shape},
        "labels": facts.labels,
        "preprocessing": None if recipe is None else recipe.model_dump(),
        "cam": {"output": "cam", "bias": network.linear()[1].tolist(), "grid": golden.arrays["cam"].shape[2:]},
        "left_out": left_out,
        "card": facts.card.model_dump() if facts.card else None,
    }
    return write_package(folder, manifest, data, golden.arrays, half)


def input_names(recipe: Preprocessing | None) -> tuple[str, ...]:
    """Return the ONNX inputs of an input signature."""
    return ("image",) if recipe is None or recipe.input_signature == "stacked" else recipe.channels


def to_onnx(network: ClassMapNetwork, names: tuple[str, ...], shape: Shape) -> bytes:
    """Return the network as ONNX with dynamic N; outputs ``prob``, ``cam`` and ``logits``: softmax(mean(cam)), cam, mean(cam)."""
    image = torch.zeros((2, *shape))
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
    model, _ = with_logits(onnx.load_from_string(buffer.getvalue()))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
