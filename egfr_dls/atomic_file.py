"""Files that a reader, or a crash, sees whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

UNFINISHED = ".new-*"  # the name, as a pattern, of what is left where the writer was killed
PRIVATE, SHARED = 0o600, 0o666  # of a new file; the umask takes from either


def write_atomically(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Write a file whole; synced on return.

    Raises
    ------
    OSError
        the disk is full or fails; what stood at ``path`` stands there still
    """
    with atomic_file(path, mode) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path, mode: int = PRIVATE) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of ``path`` at the end, synced; after an error nothing of it is left.

    Parameters
    ----------
    path
        in a folder that exists
    mode
        permissions: ``PRIVATE`` for what may name a patient, ``SHARED`` for what other users of the machine read
    """
    part = path.parent / UNFINISHED.replace("*", secrets.token_hex(8))
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123  # by descriptor: the mode
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
