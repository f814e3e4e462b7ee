"""Writes a model package (schema ``egfr-dls-model/1``) and reads it back, checked."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.models.manifest import GOLDEN_NAME, MANIFEST_NAME, NETWORK_NAME, SCHEMA, Manifest, ModelPackage

TOLERANCE = {"fp32": {"prob": 1e-5, "cam_rel": 1e-4}}


def write_package(
    folder: Path, facts: Mapping[str, Any], network: bytes, golden: Mapping[str, NDArray[Any]]
) -> ModelPackage:
    """Write ``model.onnx``, ``golden.npz`` and ``model.json`` into a folder, each replaced as a whole, and read them.

    ``facts`` are the manifest's keys but ``schema``, ``files`` and ``tolerance``.
    """
    files = {NETWORK_NAME: network, GOLDEN_NAME: npz(golden)}
    manifest = Manifest.model_validate(
        {
            "schema": SCHEMA,
            **facts,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            "tolerance": TOLERANCE,
        }
    )
    files[MANIFEST_NAME] = (json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        unfinished = folder / f".{name}.{os.getpid()}"
        unfinished.write_bytes(content)
        unfinished.replace(folder / name)
    return ModelPackage.read(folder)


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as an npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()
