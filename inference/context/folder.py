"""The site's folder of clinical facts: which of its files are new and whole, and what they hold. Nothing is written there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inference.context.entries import Entry, FaultCode, FaultyFileError, read_entries

SETTLE_SECONDS = 2.0  # a file that was written later than that may still grow
MAX_BYTES = 16 * 1024 * 1024
SUFFIXES = {".json": False, ".csv": True}  # whether comma separated


@dataclass(frozen=True, slots=True)
class DroppedFile:
    """A file as it lies there. ``name`` may hold a patient's ID: it goes into no log."""

    name: str
    written_ns: int
    size: int
    inode: int

    @property
    def written_at(self) -> float:
        """When it was written, UTC seconds: what it states is as old."""
        return self.written_ns / 1e9


class Folder:
    """Reads files of facts. Hidden files, and those that end neither in ``.json`` nor in ``.csv``, are not looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def files(self) -> list[DroppedFile]:
        """Return what lies there, the oldest first; raises OSError where the folder cannot be listed."""
        with os.scandir(self._path) as entries:
            found = list(self._dropped(entries))
        return sorted(found, key=lambda file: (file.written_ns, file.name))

    def _dropped(self, entries: Iterator[os.DirEntry[str]]) -> Iterator[DroppedFile]:
        for entry in entries:
            if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in SUFFIXES:
                continue
            try:
                found = entry.stat()
            except OSError:
                continue  # moved away meanwhile, or a link to nothing
            if stat.S_ISREG(found.st_mode):
                yield DroppedFile(entry.name, found.st_mtime_ns, found.st_size, found.st_ino)

    def read(self, file: DroppedFile, now: float) -> tuple[Entry, ...] | None:
        """Return a file's entries; None: it may still be being written, look again.

        Raises
        ------
        FaultyFileError
            nothing of it counts
        """
        age = now - file.written_at
        if age < -SETTLE_SECONDS:
            raise FaultyFileError(FaultCode.FROM_THE_FUTURE, "was written in the future; needed: clocks that agree")
        if age < SETTLE_SECONDS:
            return None
        if file.size > MAX_BYTES:
            raise FaultyFileError(FaultCode.TOO_LARGE, f"has {file.size} bytes; at most {MAX_BYTES} are read")
        data = self._bytes(file)
        return None if data is None else read_entries(data, comma_separated=SUFFIXES[Path(file.name).suffix.lower()])

    def _bytes(self, file: DroppedFile) -> bytes | None:
        try:
            with (self._path / file.name).open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
                found = os.fstat(opened.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FaultyFileError(FaultCode.UNREADABLE, f"cannot be read: {error.strerror}") from error
        unchanged = (found.st_mtime_ns, found.st_size, found.st_ino) == (file.written_ns, file.size, file.inode)
        return data if unchanged else None
