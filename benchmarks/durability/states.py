"""What a disk may hold after a power failure: all that was synced, and of the rest anything.

The model is stricter than the usual file systems. Of what was not synced, each write is on the disk, is not, or is there in
some of its 512-byte sectors; sizes and modes the same; each name that was made, renamed or removed since its folder was synced is
so or is not. ``fdatasync`` covers data and size, ``fsync`` also the mode, neither a file's name. A rename is on the disk as a
whole or not at all, as journals have it.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.durability.trace import Kind, Note

SECTOR_BYTES = 512
LINKED = ".seg"  # read only by the check, so that the copies may share what is equal


@dataclass(eq=False)
class Stored:
    """A file's content on the disk, as far as it is synced, and what was done to it since: (position in the trace, step)."""

    durable: Path
    pending: list[tuple[int, Note]] = field(default_factory=list)

    def settle(self, before: int, *, whole: bool) -> None:
        """Take a sync that began at a position."""
        settled = [(at, n) for at, n in self.pending if at < before and (whole or n.kind is not Kind.MODE)]
        for _, note in settled:
            carry_out(note, self.durable)
        self.pending = [step for step in self.pending if step not in settled]


@dataclass(eq=False)
class Naming:
    """A name that came at a position, for a file or (``stored`` is None) for a folder; and the old one that went.

    Either is empty where there is none.
    """

    at: int
    path: str
    stored: Stored | None
    old: str = ""

    def concerns(self, folder: str) -> bool:
        """Whether a sync of this folder makes it durable."""
        return folder in (os.path.dirname(self.path), os.path.dirname(self.old))  # noqa: PTH120  # much quicker

    def apply(self, names: dict[str, Naming]) -> None:
        """Change the names of a disk."""
        names.pop(self.old, None)
        if self.path:
            names[self.path] = self


class Disk:
    """Follows a trace from an empty folder.

    Parameters
    ----------
    root
        the folder that was traced
    objects
        an empty folder, for the synced content of the files
    """

    def __init__(self, root: Path, root_inode: int, objects: Path) -> None:
        self._root = str(root)
        self._objects = objects
        self._folders = {root_inode: self._root}
        self._files: dict[int, Stored] = {}  # by inode
        self._live: dict[str, Stored] = {}  # by path
        self._names: dict[str, Naming] = {}  # those that are synced
        self._pending: list[Naming] = []
        self._begun: dict[int, int] = {}  # sync -> position of its begin
        self._count = 0

    def follow(self, at: int, note: Note) -> None:
        """Take the next note."""
        match note.kind:
            case Kind.MAKE:
                self._make(at, note)
            case Kind.MAKE_FOLDER:
                self._folders[note.inode] = note.path
                self._pending.append(Naming(at, note.path, None))
            case Kind.WRITE | Kind.CUT | Kind.MODE:
                self._files[note.inode].pending.append((at, note))
            case Kind.RENAME:
                stored = self._live[note.to] = self._live.pop(note.path)
                self._pending.append(Naming(at, note.to, stored, old=note.path))
            case Kind.LINK:
                self._live[note.to] = self._live[note.path]
                self._pending.append(Naming(at, note.to, self._live[note.to]))
            case Kind.REMOVE:
                self._pending.append(Naming(at, "", self._live.pop(note.path), old=note.path))
            case Kind.SYNC_BEGINS:
                self._begun[note.number] = at
            case Kind.SYNCED:
                self._settle(note, self._begun[note.number])
            case Kind.SENT:
                pass

    def crashed(self, into: Path, chosen: random.Random) -> None:
        """Write one of the states that the disk may have now."""
        steps = [at for stored in self._files.values() for at, _ in stored.pending]
        kept = _keeps([*steps, *(naming.at for naming in self._pending)], chosen)
        names, undone = dict(self._names), set[Stored]()
        for naming in self._pending:
            if kept(naming.at) and naming.stored not in undone:
                naming.apply(names)
            elif naming.stored is not None:
                undone.add(naming.stored)  # journals keep the order of what is done to one file
        for path, naming in sorted(names.items()):
            if all(str(parent) in names for parent in Path(path).parents if len(str(parent)) > len(self._root)):
                self._write(naming, into / path[len(self._root) + 1 :], kept, chosen)

    def _make(self, at: int, note: Note) -> None:
        self._count += 1
        stored = Stored(self._objects / str(self._count))
        stored.durable.touch()
        stored.durable.chmod(note.offset)
        self._files[note.inode] = self._live[note.path] = stored
        self._pending.append(Naming(at, note.path, stored))

    def _settle(self, note: Note, before: int) -> None:
        if (folder := self._folders.get(note.inode)) is None:
            self._files[note.inode].settle(before, whole=bool(note.offset))
            return
        settled = [naming for naming in self._pending if naming.at < before and naming.concerns(folder)]
        for naming in settled:
            naming.apply(self._names)
        self._pending = [naming for naming in self._pending if naming not in settled]

    def _write(self, naming: Naming, path: Path, kept: Callable[[int], bool], chosen: random.Random) -> None:
        if naming.stored is None:
            path.mkdir(parents=True, mode=0o700)
            return
        steps = [torn for at, n in naming.stored.pending if kept(at) for torn in _torn(n, chosen)]
        if path.suffix == LINKED and not steps:
            os.link(naming.stored.durable, path)
            return
        shutil.copy(naming.stored.durable, path)
        for note in steps:
            carry_out(note, path)


def carry_out(note: Note, path: Path) -> None:
    """Do to a file what a note says."""
    if note.kind is Kind.MODE:
        path.chmod(note.offset)
    elif note.kind is Kind.CUT:
        os.truncate(path, note.offset)
    else:
        fd = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(fd, note.data, note.offset)
        finally:
            os.close(fd)


def _keeps(steps: list[int], chosen: random.Random) -> Callable[[int], bool]:
    """Return which unsynced steps the disk has, by their position: none, all, those before some moment, or any."""
    how, portion, until = chosen.randrange(5), chosen.random(), chosen.choice(steps or [0])
    kept = {at for at in steps if chosen.random() < portion}
    return (
        lambda _at: False,
        lambda _at: True,
        lambda at: at < until,
        *(2 * [lambda at: at in kept]),
    )[how]


def _torn(note: Note, chosen: random.Random) -> Iterator[Note]:
    """Yield what of a write is there: all of it, or runs of whole sectors."""
    if note.kind is not Kind.WRITE or chosen.random() < 0.5:
        yield note
        return
    at, end = note.offset, note.offset + len(note.data)
    while at < end:
        until = min(end, (at // SECTOR_BYTES + 1 + chosen.choice((0, 0, 1, 7, 200))) * SECTOR_BYTES)
        if chosen.random() < 0.6:
            data = note.data[at - note.offset : until - note.offset]
            yield Note(note.kind, note.number, note.inode, at, note.path, note.to, data)
        at = until
