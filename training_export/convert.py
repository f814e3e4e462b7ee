"""A network file of any kind that can be imported, as the network of a model package with its golden values.

What a file is shows in its first bytes, never in its name. Nothing here runs code of a file or opens a pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from inference.engine.contract import ROW_SUM_TOLERANCE
from training_export.class_map import ClassMap, with_class_map
from training_export.golden import CpuNetwork, Golden, golden_values
from training_export.half_precision import half_or_reason
from training_export.import_limits import MAX_FILE_BYTES
from training_export.keras_import.container import read_keras_file
from training_export.keras_import.translate import translate
from training_export.logits import with_logits
from training_export.network_inputs import Shape
from training_export.network_refusal import NetworkRefusedError, Reason
from training_export.onnx_import.conform import conform
from training_export.onnx_import.read import read_onnx_file

HDF5 = b"\x89HDF\r\n\x1a\n"
HDF5_OFFSETS = (0, 512, 1024, 2048, 4096)  # a block of the user's may lie before it
# What else a file may be by its first bytes, and what to say of it.
OTHERS: tuple[tuple[bytes, Reason, str], ...] = (
    (b"PK\x03\x04", Reason.NOT_SUPPORTED, "a zip archive (.keras of Keras 3, PyTorch or npz)"),
    (b"\x80\x02", Reason.FILE_UNSAFE, "a Python pickle, which is never opened"),
    (b"\x80\x03", Reason.FILE_UNSAFE, "a Python pickle, which is never opened"),
    (b"\x80\x04", Reason.FILE_UNSAFE, "a Python pickle, which is never opened"),
    (b"\x80\x05", Reason.FILE_UNSAFE, "a Python pickle, which is never opened"),
    (b"\x93NUMPY", Reason.NOT_SUPPORTED, "an array of NumPy"),
    (b"<", Reason.FILE_UNREADABLE, "a web page or XML; the download went wrong"),
    (b"version https://git-lfs", Reason.FILE_UNREADABLE, "a Git LFS pointer; fetch the file itself"),
)
NEEDED = "needed: a model that Keras 2 saved as HDF5, or an ONNX file"
BATCH_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Converted:
    """The network of a package: ONNX with its inputs, number of classes, class map and golden values, and its fp16 variant."""

    network: bytes
    input_names: tuple[str, ...]
    input_shape: Shape  # of each input
    n_classes: int
    class_map: ClassMap | None
    golden: Golden
    source: Mapping[str, str]
    half: bytes | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)  # variants that could not be made, and why


def convert(path: Path) -> Converted:
    """Read a Keras 2 HDF5 file or an ONNX file.

    Raises
    ------
    NetworkRefusedError
        says what was found and what was needed
    """
    model, source = _read(path)
    model, class_map = with_class_map(model)
    model, _ = with_logits(model)
    onnx.checker.check_model(model, full_check=True)
    network = bytes(model.SerializeToString())
    names = tuple(value.name for value in model.graph.input)
    channels, rows, columns = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:])
    shape = (channels, rows, columns)
    golden = _computed(network, names, shape)
    n_classes = golden.arrays["prob"].shape[1]
    half, left_out = half_or_reason(network, names, golden.arrays)
    return Converted(network, names, shape, n_classes, class_map, golden, source, half, left_out)


def _read(path: Path) -> tuple[onnx.ModelProto, dict[str, str]]:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise NetworkRefusedError(
            Reason.LIMIT_EXCEEDED, f"{path.name} holds {size >> 20} MB; needed: at most {MAX_FILE_BYTES >> 20}"
        )
    with path.open("rb") as file:
        head = file.read(HDF5_OFFSETS[-1] + len(HDF5))
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if any(head[offset : offset + len(HDF5)] == HDF5 for offset in HDF5_OFFSETS):
        keras = read_keras_file(path)
        stated = {"kind": "keras-hdf5", "sha256": sha256, "keras_version": keras.keras_version[:40]}
        return translate(keras), stated
    for start, reason, what in OTHERS:
        if head.startswith(start):
            raise NetworkRefusedError(reason, f"{path.name} is {what}; {NEEDED}")
    if not head:
        raise NetworkRefusedError(Reason.FILE_UNREADABLE, f"{path.name} is empty; {NEEDED}")
    model = read_onnx_file(path)
    producer = f"{model.producer_name} {model.producer_version}".strip()[:80] or "not stated"
    return conform(model), {"kind": "onnx", "sha256": sha256, "producer": producer}


def _computed(network: bytes, names: tuple[str, ...], shape: Shape) -> Golden:
    """Run the golden images together and one by one, and hold the answers against what probabilities are."""
    try:
        session = CpuNetwork(network, names)
        golden = golden_values(session, shape)
        single = [session.run(image[None])["prob"] for image in golden.arrays["image"]]
    except Exception as error:  # onnxruntime raises a dozen unrelated classes for a network that it cannot run
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"onnxruntime cannot run the network on eight images: {str(error)[:400]}"
        ) from error
    for name, values in golden.arrays.items():
        if not np.isfinite(values).all():
            raise NetworkRefusedError(
                Reason.NUMBERS_UNUSABLE, f"{name} of the network is NaN or infinite for some images"
            )
    _check_probabilities(golden.arrays["prob"])
    if float(np.abs(golden.arrays["prob"] - np.concatenate(single)).max()) > BATCH_TOLERANCE:
        raise NetworkRefusedError(Reason.NOT_SUPPORTED, "an image's answer depends on the images beside it")
    return golden


def _check_probabilities(prob: NDArray[np.float32]) -> None:
    within = float(prob.min()) >= 0.0 and float(prob.max()) <= 1.0
    sums = prob.shape[1] == 1 or float(np.abs(prob.sum(axis=1) - 1.0).max()) <= ROW_SUM_TOLERANCE
    if not (within and sums):
        raise NetworkRefusedError(
            Reason.NUMBERS_UNUSABLE,
            f"the output {np.round(prob[0], 4).tolist()[:8]} is no probability; needed: softmax over the classes, or one sigmoid",
        )
