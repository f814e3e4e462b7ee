"""Reads ``.safetensors``: a length, a JSON header, plain numbers. Nothing in such a file can run; what does not fit is refused.

The format has three rules (github.com/huggingface/safetensors, "Format"): 8 bytes with the header's length, the header with
type, shape and place of each tensor, and the tensors one after the other without a gap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training_export.import_limits import MAX_CONFIG_BYTES, MAX_FILE_BYTES, MAX_NAMES
from training_export.training.refusal import Reason, TrainingRefusedError

LENGTH_BYTES = 8
DTYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
METADATA = "__metadata__"


@dataclass(frozen=True, order=True)
class _Tensor:
    begin: int
    end: int
    name: str
    dtype: str
    shape: tuple[int, ...]


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file by name.

    Raises
    ------
    TrainingRefusedError
        the file is damaged or not of this format
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_FILE_BYTES else b""
    except OSError as error:
        raise _refused(path, str(error.strerror)) from error
    if size > MAX_FILE_BYTES:
        raise _refused(path, f"{size} bytes; needed: at most {MAX_FILE_BYTES}")
    header, body = _parts(path, content)
    tensors = sorted(_tensor(path, name, entry) for name, entry in header.items() if name != METADATA)
    expected = 0
    for tensor in tensors:
        if tensor.begin != expected:
            raise _refused(path, f"{tensor.name} begins at {tensor.begin}; needed: {expected}, where the last one ends")
        expected = tensor.end
    if expected != len(body):
        raise _refused(path, f"the tensors end at {expected}, the file at {len(body)}; needed: the same")
    return {t.name: np.frombuffer(body[t.begin : t.end], DTYPES[t.dtype]).reshape(t.shape) for t in tensors}


def _parts(path: Path, content: bytes) -> tuple[dict[str, Any], memoryview]:
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    if len(content) < LENGTH_BYTES or length > min(MAX_CONFIG_BYTES, len(content) - LENGTH_BYTES):
        raise _refused(path, f"a header of {length} bytes in a file of {len(content)}; needed: a whole header")
    try:
        header = json.loads(content[LENGTH_BYTES : LENGTH_BYTES + length])
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"the header is not JSON: {error}") from error
    if not isinstance(header, dict) or len(header) > MAX_NAMES:
        raise _refused(path, f"the header is no table of at most {MAX_NAMES} tensors")
    return header, memoryview(content)[LENGTH_BYTES + length :]


def _tensor(path: Path, name: str, entry: Any) -> _Tensor:
    try:
        begin, end = (int(n) for n in entry["data_offsets"])
        tensor = _Tensor(begin, end, name, str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
        needed = math.prod(tensor.shape) * DTYPES[tensor.dtype].itemsize
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _refused(path, f"{name[:80]}: needed: dtype ({', '.join(DTYPES)}), shape and data_offsets") from error
    if begin < 0 or min(tensor.shape, default=0) < 0 or end - begin != needed:
        raise _refused(path, f"{name[:80]} takes {end - begin} bytes; needed: {needed} for its type and shape")
    return tensor


def _refused(path: Path, what: str) -> TrainingRefusedError:
    return TrainingRefusedError(Reason.WEIGHTS_UNSAFE, f"{path.name} is not a safetensors file: {what}")
