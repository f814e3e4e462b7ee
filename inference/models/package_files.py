"""Reads the files of a package folder: plain files that lie in it, of a size that a network has."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

from egfr_dls.errors import ConfigurationError

MAX_FILE_BYTES = 1 << 30  # of a network; far above any of this kind
MAX_MANIFEST_BYTES = 1 << 20


def read_file(folder: Path, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file of the package.

    Raises
    ------
    ConfigurationError
        the name is a path, or leads out of the folder; it is no plain file, is larger than ``limit`` or cannot be read
    """
    try:
        with _opened(folder, name, limit) as file:
            return file.read(limit)
    except OSError as error:
        raise ConfigurationError(f"{folder / name}: {error.strerror}") from error


def file_sha256(folder: Path, name: str) -> str:
    """Return the SHA-256 of a file of the package; raises as ``read_file``."""
    try:
        with _opened(folder, name, MAX_FILE_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"{folder / name}: {error.strerror}") from error


def _opened(folder: Path, name: str, limit: int) -> io.BufferedReader:
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise ConfigurationError(f"{folder}: files.{name[:80]}: must be a file name without a folder")
    place = Path(
        os.path.realpath(folder / name, strict=True)
    )  # Path.resolve ends a circle of links with a RuntimeError
    if not place.is_relative_to(os.path.realpath(folder)):
        raise ConfigurationError(f"{folder / name} leads out of the package, to {place}; needed: the file itself")
    found = place.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{folder / name} is no plain file")
    if found.st_size > limit:
        raise ConfigurationError(f"{folder / name} holds {found.st_size} bytes; needed: at most {limit}")
    return place.open("rb")
