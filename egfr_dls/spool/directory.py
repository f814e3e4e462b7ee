"""The spool in a local folder: segments of records, in which an instance is durable before the sender hears 0000H.

What a crash may leave, and why it does no harm:

* A torn tail. Reading stops at the first record that is not whole (magic, generation, CRC-32). Nothing from there on was
  acknowledged: a segment has one writer, who writes one record after the other, and each sync covers all before it. The
  next writer goes on at that place: it overwrites only what nobody was promised.
* Old bytes behind the tail, of a recycled segment or of a payload that was given up. They are of another generation, or of
  none that a sender could know (``record.py``), so they are never whole records.
* A failed write or sync. What the disk holds is then unknown, so the segment is closed for good and nothing is ever appended
  to it again (mode 0400, also for the next process).
* An old mode. That of a segment is synced before it comes to ``sealed`` or ``ready``: closed there, open here. One in
  ``active`` that is open again is gone on with at its tail.
* A segment under its old name. A folder is synced whenever a name is made in it (``active`` before the first record),
  the new name's before the old one's: a segment may be seen under both, never under none.

One process writes a segment at a time: it holds its lock (flock). Several processes may share one listener's folder.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from egfr_dls.spool import layout, record, recycling
from egfr_dls.spool.contract import Bytes, Entry, RecordWriter, SegmentFull, SpooledRecord, SpoolReadError, SpoolState
from egfr_dls.spool.filler import Filler
from egfr_dls.spool.pool import SegmentPool
from egfr_dls.spool.reading import open_payload, open_payloads, read_payload
from egfr_dls.spool.segment import write_failed
from egfr_dls.spool.stream import StreamedRecord
from egfr_dls.study import SpoolRef

SEGMENT_BYTES = 32 * 1024 * 1024  # a segment that has grown past this takes no more records


class DirectorySpool:
    """A spool in one local folder, written in the name of one listener and read for all.

    Parameters
    ----------
    listener
        in whose folder to write; None to read only
    """

    def __init__(self, folder: Path, listener: str | None = None, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own = layout.listener_folder(folder, listener) if listener else None
        if self._own:
            layout.make_folders(self._own)
        self._pool = SegmentPool(self._own, segment_bytes) if self._own else None

    def append(self, entry: Entry, parts: Sequence[Bytes] = (), *, sync: bool = True) -> SpoolRef:
        """Write one whole record; durable on return unless ``sync`` is False.

        Raises
        ------
        SpoolWriteError
            the disk is full or failing; the segment is closed for good
        """
        pool = self._writing()
        segment = pool.take()
        try:
            ref = segment.append(entry, parts, sync=sync)
        except OSError as error:
            pool.give_up(segment)
            raise write_failed(error) from error
        except BaseException:  # an entry that does not fit: nothing was written
            pool.put_back(segment)
            raise
        pool.put_back(segment)
        return ref

    def begin(self) -> RecordWriter:
        """Begin a record whose length is not known yet, or that does not fit into memory."""
        return StreamedRecord(self._writing())

    def preparing(self, floor_bytes: int) -> AbstractContextManager[None]:
        """While the context lasts, keep segments written ahead in idle time, and leave ``floor_bytes`` of the disk."""
        pool = self._writing()
        filler = Filler(pool.ready, self._segment_bytes, pool.quiet_seconds, lambda: self.free_bytes() - floor_bytes)
        return filler.running()

    def free_bytes(self) -> int:
        """Return the space left on the spool's disk for an ordinary user, bytes."""
        facts = os.statvfs(self._folder)
        return facts.f_bavail * facts.f_frsize

    def open(self, ref: SpoolRef) -> BinaryIO:
        """Return an instance's Part 10 file (preamble, file meta, data set), to be closed; only what is read is fetched."""
        return open_payload(self._folder, ref)

    def read(self, ref: SpoolRef) -> bytes:
        """Return the payload of a record."""
        return read_payload(self._folder, ref)

    def payloads(self, refs: Iterable[SpoolRef]) -> Iterator[io.RawIOBase]:
        """Yield the payload of each record, to be read before the next."""
        return open_payloads(self._folder, refs)

    def records(self, listener: str, since: Mapping[str, int], *, everything: bool = False) -> Iterator[SpooledRecord]:
        """Yield every whole record of a listener past the given watermark of each segment, oldest segment first.

        A full segment ends with ``SegmentFull``: at each call until it is archived, with ``everything`` also after that.
        """
        folder = layout.listener_folder(self._folder, listener)
        states = (layout.SEALED, layout.ACTIVE) if everything else (layout.ACTIVE,)
        found = [path for state in states for path in layout.segments(folder / state)]
        for path in sorted(found, key=lambda path: path.name):
            yield from _scan(path, since.get(layout.segment_name(path), 0))

    def waiting(self, listener: str, since: Mapping[str, int]) -> Iterator[Entry]:
        """Yield the entries past the given watermark of each segment by their heads alone; the last may be torn."""
        for path in layout.segments(layout.listener_folder(self._folder, listener) / layout.ACTIVE):
            yield from _heads(path, since.get(layout.segment_name(path), 0))

    def segments(self, listener: str) -> frozenset[str]:
        """Return the segments of a listener that are not ready."""
        folder = layout.listener_folder(self._folder, listener)
        states = (layout.ACTIVE, layout.SEALED)  # in the order in which one may be moved meanwhile
        return frozenset(layout.segment_name(path) for state in states for path in layout.segments(folder / state))

    def sync(self, segment: str) -> None:
        """Sync a segment to the disk; cheap where its writer has done so."""
        for path in layout.candidates(self._folder, segment):
            try:
                with layout.opened(path) as fd:
                    os.fdatasync(fd)
                    return
            except FileNotFoundError:
                continue
            except OSError as error:
                raise write_failed(error) from error

    def archive(self, segment: str) -> None:
        """Note that a segment is full and wholly indexed; a second call does nothing."""
        recycling.archive(self._folder, segment)

    def adopt(self, listener: str) -> None:
        """Close for good what a listener that is gone left unfilled, so that ``records`` tells ``SegmentFull`` there too."""
        recycling.adopt(layout.listener_folder(self._folder, listener))

    def release(self, segment: str) -> None:
        """Give a segment's space back: nothing in it is referred to any more; a second call does nothing."""
        recycling.release(self._folder, segment, self._own, self._segment_bytes)

    def listeners(self) -> frozenset[str]:
        """Return the names of all listeners that have written here."""
        return layout.listeners(self._folder)

    def state(self) -> SpoolState:
        """Return how full the spool is, over all listeners."""
        return recycling.state(self._folder, self.free_bytes())

    def close(self) -> None:
        """Close the open segments; the next process goes on at their tails."""
        if self._pool:
            self._pool.close()

    def _writing(self) -> SegmentPool:
        if self._pool is None:
            raise ValueError("this spool was opened for reading; name a listener to write")
        return self._pool


def _scan(path: Path, start: int) -> Iterator[SpooledRecord]:
    name, generation, end = layout.segment_name(path), layout.generation_of(path), start
    try:
        with layout.opened(path) as fd:
            closed = layout.is_closed(fd)  # before its last record is looked for
            for found in record.whole_records(fd, generation, start):
                end = found.end
                yield SpooledRecord(record.decode(found.header), SpoolRef(name, found.offset, found.length), end)
    except FileNotFoundError:  # without records and abandoned, or archived, since the folder was listed
        return
    except OSError as error:
        raise _unreadable(name, error) from error
    if closed:
        yield SpooledRecord(SegmentFull(), SpoolRef(name, end, 0), end)


def _heads(path: Path, start: int) -> Iterator[Entry]:
    try:
        with layout.opened(path) as fd:
            for header in record.headers(fd, layout.generation_of(path), start):
                yield record.decode(header)
    except (FileNotFoundError, ValueError):  # archived since the folder was listed; a head that is being written
        return
    except OSError as error:
        raise _unreadable(layout.segment_name(path), error) from error


def _unreadable(segment: str, error: OSError) -> SpoolReadError:
    return SpoolReadError(f"spool segment {segment} cannot be read: {error.strerror}")
