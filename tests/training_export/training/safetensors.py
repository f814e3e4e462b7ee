"""Writes ``.safetensors``, well or with a fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = {"float32": "F32", "float64": "F64", "int64": "I64"}


def parts(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Any], bytes]:
    """Return header and body."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": NAMES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    return header, body


def file_of(header: Any, body: bytes) -> bytes:
    """Return the file."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body
