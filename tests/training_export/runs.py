"""Runs an imported network as the engine does, on images with the channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from training_export.golden import CpuNetwork


def run_model(model: onnx.ModelProto, *images: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Return every output for images (N, rows, columns, channels), one array an input."""
    onnx.checker.check_model(model, full_check=True)
    names = [value.name for value in model.graph.input]
    joined = np.concatenate(images, axis=3).transpose(0, 3, 1, 2)
    return CpuNetwork(model.SerializeToString(), names).run(np.ascontiguousarray(joined, np.float32))
