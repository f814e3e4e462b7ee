"""Names and folders: what state a segment is in is where it lies and whether it may be written.

::

    <spool>/<listener>/ready/    empty: pre-written, or recycled
                       active/   being written, or not wholly indexed
                       sealed/   full and indexed
                       <state>/<time>-<generation>.seg

A segment's mode says the rest: 0600 may be written, 0400 is closed for good.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from egfr_dls.errors import ConfigurationError

READY: Final = "ready"
ACTIVE: Final = "active"
SEALED: Final = "sealed"
STATES: Final = (READY, ACTIVE, SEALED)
OPEN_MODE: Final = 0o600
CLOSED_MODE: Final = 0o400

_LISTENER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SEGMENT_NAME = re.compile(r"[0-9a-f]{16}-(?P<generation>[0-9a-f]{16})\.seg")


def listeners(root: Path) -> frozenset[str]:
    """Return the names of the listeners that have folders."""
    return frozenset(path.name for path in root.iterdir() if is_listener(path.name) and (path / ACTIVE).is_dir())


def is_listener(name: str) -> bool:
    """Return whether a listener may have this name."""
    return _LISTENER_NAME.fullmatch(name) is not None


def listener_folder(root: Path, listener: str) -> Path:
    """Return the folder of a listener's segments.

    Raises
    ------
    ConfigurationError
        the name cannot be a folder's
    """
    if not is_listener(listener):
        raise ConfigurationError(f"listener name {listener!r}; needed: letters, digits, '.', '_', '-' (100 at most)")
    return root / listener


def new_name() -> str:
    """Return the name of a segment that is used from now on; names sort by time."""
    return f"{time.time_ns():016x}-{secrets.token_hex(8)}.seg"


def generation_of(segment: Path) -> int:
    """Return the generation in a segment's file name.

    Raises
    ------
    ValueError
        this is no segment's name
    """
    if match := _SEGMENT_NAME.fullmatch(segment.name):
        return int(match["generation"], 16)
    raise ValueError(f"{segment.name} names no segment")


def is_segment(file_name: str) -> bool:
    """Return whether this is a segment's file name."""
    return _SEGMENT_NAME.fullmatch(file_name) is not None


def segment_name(segment: Path) -> str:
    """Return the name under which a segment is referred to, whatever state it is in: ``<listener>/<file name>``."""
    return f"{segment.parent.parent.name}/{segment.name}"


def candidates(root: Path, name: str) -> Iterator[Path]:
    """Yield where a segment may lie; ``sealed`` twice, since it may be moved there while one looks."""
    listener, _, file_name = name.partition("/")
    if _LISTENER_NAME.fullmatch(listener) and _SEGMENT_NAME.fullmatch(file_name):
        for state in (SEALED, ACTIVE, SEALED):
            yield root / listener / state / file_name


def is_closed(fd: int) -> bool:
    """Return whether a segment is closed for good."""
    return os.fstat(fd).st_mode & 0o777 == CLOSED_MODE


def segments(folder: Path) -> list[Path]:
    """Return the segments in a folder, oldest first."""
    with suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if _SEGMENT_NAME.fullmatch(path.name))
    return []


def make_folders(folder: Path) -> None:
    """Make a listener's folders, durably."""
    for made in (folder, *(folder / state for state in STATES)):
        made.mkdir(mode=0o700, exist_ok=True)
    for parent in (folder, folder.parent, folder.parent.parent):
        sync_folder(parent)


def move(segment: Path, to: Path) -> None:
    """Rename a segment, durably: it is synced under its new name before the old name's folder is."""
    segment.rename(to)
    sync_folder(to.parent)
    if segment.parent != to.parent:
        sync_folder(segment.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def locked(fd: int, *, shared: bool = False) -> bool:
    """Take the lock of a segment without waiting: its writer's alone, or its readers' together."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a file's descriptor for a while."""
    fd = os.open(path, flags | os.O_CLOEXEC, OPEN_MODE)
    try:
        yield fd
    finally:
        os.close(fd)
