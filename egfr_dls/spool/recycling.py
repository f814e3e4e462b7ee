"""What becomes of a full segment: archived once it is indexed, recycled or removed once nothing refers to it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from egfr_dls.spool import layout
from egfr_dls.spool.contract import SpoolState, SpoolWriteError

READY_SEGMENTS = 2  # empty ones that are kept for each listener


def archive(root: Path, name: str) -> None:
    """Move a segment from ``active`` to ``sealed``.

    Raises
    ------
    ValueError
        it is not closed for good: what is still appended to it would never be indexed
    """
    listener, _, file_name = name.partition("/")
    path = layout.listener_folder(root, listener) / layout.ACTIVE / file_name
    try:
        with layout.opened(path) as fd:
            if not layout.is_closed(fd):
                raise ValueError(f"spool segment {name} is not full")
            os.fsync(fd)  # in ``sealed`` it is closed, whatever the power does
        layout.move(path, path.parent.parent / layout.SEALED / file_name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SpoolWriteError(f"spool segment cannot be moved: {error.strerror}") from error


def adopt(folder: Path) -> None:
    """Close for good the segments of a listener that no living process holds, and remove its empty ones."""
    for path in (*layout.segments(folder / layout.ACTIVE), *layout.segments(folder / layout.READY)):
        with suppress(FileNotFoundError), layout.opened(path) as fd:
            if not layout.locked(fd):
                continue
            if path.parent.name == layout.READY:
                path.unlink()
            else:
                os.fchmod(fd, layout.CLOSED_MODE)


def release(root: Path, name: str, own: Path | None, segment_bytes: int) -> None:
    """Recycle a sealed segment of the listener whose folder is ``own`` under a new generation, or remove it.

    It is removed where enough are ready, where it was never filled (a failed one, an adopted one), where it is another
    listener's, and where somebody is reading it: what is read never changes.
    """
    listener, _, file_name = name.partition("/")
    folder = layout.listener_folder(root, listener)
    path = folder / layout.SEALED / file_name
    try:
        with layout.opened(path, os.O_RDONLY) as fd:
            wanted = folder == own and len(layout.segments(folder / layout.READY)) < READY_SEGMENTS
            if wanted and os.fstat(fd).st_size >= segment_bytes and layout.locked(fd):
                os.fchmod(fd, layout.OPEN_MODE)
                os.truncate(path, segment_bytes)
                os.fsync(fd)  # in ``ready`` it is open, whatever the power does
                layout.move(path, folder / layout.READY / layout.new_name())
            else:
                path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SpoolWriteError(f"spool segment cannot be released: {error.strerror}") from error


def state(root: Path, free_bytes: int) -> SpoolState:
    """Count segments and their bytes."""
    counts, used = dict.fromkeys(layout.STATES, 0), 0
    for listener in layout.listeners(root):
        for name in layout.STATES:
            for path in layout.segments(root / listener / name):
                with suppress(FileNotFoundError):  # moved meanwhile
                    used += path.stat().st_size
                    counts[name] += 1
    return SpoolState(**counts, bytes_used=used, free_bytes=free_bytes)
