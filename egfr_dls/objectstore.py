"""Built objects and evidence, one file each, named by their digest; they outlive the pixels in the spool."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


class ObjectStore:
    """A folder of immutable files named by the SHA-256 of their content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep ``data`` durably and return its digest; the same data is kept once."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        if not path.exists():
            write_atomically(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        """Return what ``put`` kept under this digest."""
        return self.path(digest).read_bytes()

    def path(self, digest: str) -> Path:
        """Return the file that ``put`` made."""
        return self._folder / digest


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees all of it or none; synced on return."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            Path(file.name).unlink()
            raise
    Path(file.name).replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
