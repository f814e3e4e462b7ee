"""Writes a model package (schema ``egfr-dls-model/1``) and reads it back, checked."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egfr_dls.atomic_file import SHARED, write_atomically
from inference.models.card_text import CARD_NAME, card_text
from inference.models.manifest import (
    GOLDEN_NAME,
    HALF_NAME,
    MANIFEST_NAME,
    NETWORK_NAME,
    SCHEMA,
    Manifest,
    ModelPackage,
    Precision,
    Tolerance,
)
from inference.models.signature import SIGNATURE_NAME

TOLERANCE: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(prob=1e-5, cam_rel=1e-4, logit_rel=1e-4),
    "fp16": Tolerance(prob=1e-3, cam_rel=1e-2, logit_rel=1e-2),
}


def write_package(
    folder: Path,
    facts: Mapping[str, Any],
    network: bytes,
    golden: Mapping[str, NDArray[Any]],
    half: bytes | None = None,
) -> ModelPackage:
    """Write networks, golden values, card and manifest into a folder, each replaced as a whole, and read them.

    ``facts`` are the manifest's keys but ``schema``, ``files``, ``logits``, ``tolerance`` and ``variants``; ``half`` is the
    network's fp16 variant. A signature of what was there before is removed.
    """
    files = {NETWORK_NAME: network, GOLDEN_NAME: npz(golden)} | ({} if half is None else {HALF_NAME: half})
    variants: tuple[Precision, ...] = ("fp32",) if half is None else ("fp32", "fp16")
    document = {
        "schema": SCHEMA,
        **facts,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "logits": "logits" if "logits" in golden else None,
        "tolerance": {precision: TOLERANCE[precision].model_dump() for precision in variants},
        "variants": variants,
    }
    Manifest.model_validate(document)  # before anything is replaced
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content, SHARED)
    if half is None:
        (folder / HALF_NAME).unlink(missing_ok=True)
    return write_manifest(folder, document)


def write_manifest(folder: Path, document: Mapping[str, Any]) -> ModelPackage:
    """Write ``card.md`` and, last, ``model.json`` of a package whose other files are there, and read it.

    A signature is removed: it was of the manifest before.
    """
    card = card_text(Manifest.model_validate(document)).encode()
    files = {**document["files"], CARD_NAME: hashlib.sha256(card).hexdigest()}
    manifest = Manifest.model_validate({**document, "files": files}).model_dump(mode="json", by_alias=True)
    (folder / SIGNATURE_NAME).unlink(missing_ok=True)
    write_atomically(folder / CARD_NAME, card, SHARED)
    write_atomically(folder / MANIFEST_NAME, (json.dumps(manifest, indent=2) + "\n").encode(), SHARED)
    return ModelPackage.read(folder)


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as an npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()
