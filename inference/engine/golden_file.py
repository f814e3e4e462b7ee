"""Reads ``golden.npz``: arrays by name, whatever bytes the file holds."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from egfr_dls.errors import ConfigurationError
from inference.models.manifest import GOLDEN_NAME, ModelPackage

Golden = Mapping[str, NDArray[np.floating]]
MAX_GOLDEN_BYTES = 256 << 20  # unpacked; eight images of three channels hold 0.4 MB


def read_golden(package: ModelPackage) -> Golden:
    """Return ``image``, ``prob`` and, where the manifest has them, ``cam`` and ``logits``.

    Raises
    ------
    ConfigurationError
        the file is damaged, larger than any golden test, or lacks an array of numbers
    """
    content = package.content(GOLDEN_NAME)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_GOLDEN_BYTES:
            raise ConfigurationError(f"{package.golden} unpacks to {size} bytes; needed: at most {MAX_GOLDEN_BYTES}")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: _array(arrays, name, package) for name in _names(package)}
    except (OSError, ValueError, EOFError, NotImplementedError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigurationError(f"{package.golden} is not an npz file of numbers: {error}") from error


def _names(package: ModelPackage) -> tuple[str, ...]:
    manifest = package.manifest
    optional = {"cam": manifest.cam, "logits": manifest.logits}
    return ("image", "prob", *(name for name, stated in optional.items() if stated is not None))


def _array(arrays: Mapping[str, NDArray[np.floating]], name: str, package: ModelPackage) -> NDArray[np.floating]:
    if name not in arrays:
        raise ConfigurationError(f"{package.golden}: array {name} is missing")
    found: object = arrays[name]  # NumPy hands on the bytes of what is no array
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        what = found.dtype if isinstance(found, np.ndarray) else "no array"
        raise ConfigurationError(f"{package.golden}: array {name} is {what}; needed: floating-point numbers")
    return found
