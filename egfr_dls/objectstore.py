"""Built objects and evidence, one file each, named by their digest; they outlive the pixels in the spool."""

from __future__ import annotations

import hashlib
from pathlib import Path

from egfr_dls.atomic_file import write_atomically
from egfr_dls.errors import TemporaryFailureError


class ObjectStore:
    """A folder of immutable files named by the SHA-256 of their content.

    A disk that is full or fails raises TemporaryFailureError.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep ``data`` durably and return its digest; the same data is kept once."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        try:
            if not path.exists():
                write_atomically(path, data)
        except OSError as error:
            raise TemporaryFailureError(f"object store: {error.strerror}") from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return what ``put`` kept under this digest."""
        try:
            return self.path(digest).read_bytes()
        except OSError as error:
            raise TemporaryFailureError(f"object store, {digest}: {error.strerror}") from error

    def holds(self, digest: str) -> bool:
        """Whether what ``put`` kept under this digest is there, every byte."""
        try:
            return hashlib.sha256(self.path(digest).read_bytes()).hexdigest() == digest
        except OSError:
            return False

    def path(self, digest: str) -> Path:
        """Return the file that ``put`` made."""
        return self._folder / digest
