"""What every spool promises, whatever it writes to, and the records that it holds.

The promise of ``0000H`` is the spool's: an entry and its payload are durable when ``append`` or ``commit`` returns. The
ledger is filled behind it, from ``records``, and can be rebuilt from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from io import RawIOBase
from typing import BinaryIO, Protocol, TypeAlias

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.study import ReceivedInstance, SpoolRef

Bytes: TypeAlias = bytes | bytearray | memoryview


class SpoolWriteError(TemporaryFailureError):
    """Free space on the spool's disk, or mend it: an instance could not be made durable (the sender heard A700H)."""


class SpoolReadError(TemporaryFailureError):
    """An instance's bytes are not where the ledger says: the disk fails, or they were released by retention."""


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """An association is over.

    ``released``: the sender ended it in order (A-RELEASE, PS3.8 7.2), so what it meant to send has been sent. Else it was
    aborted or lost (PS3.8 7.3, 7.4).
    """

    association_id: str
    ended_at: datetime
    released: bool


@dataclass(frozen=True, slots=True)
class CommitmentRequested:
    """A storage commitment request (N-ACTION, PS3.4 J.3.2); its data set is the record's payload."""

    transaction_uid: str
    transfer_syntax_uid: str  # of the payload
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    association_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class SegmentFull:
    """The last record of a segment: nothing follows it.

    It is never appended: ``records`` tells it at the end of a segment that is closed for good, at each call until the segment is
    archived, so that a crash between the two loses nothing.
    """


Entry: TypeAlias = ReceivedInstance | AssociationEnded | CommitmentRequested | SegmentFull


@dataclass(frozen=True, slots=True)
class SpooledRecord:
    """One record as read back: the entry, where its payload lies, and where the next record starts."""

    entry: Entry
    ref: SpoolRef
    end: int  # the watermark behind this record, in its segment


@dataclass(frozen=True, slots=True)
class SpoolState:
    """How full a spool is.

    ``ready`` segments are empty and pre-written, ``active`` ones are being written or not wholly indexed, ``sealed`` ones are
    full and indexed. ``free_bytes`` is None where storage has no known end.
    """

    ready: int
    active: int
    sealed: int
    bytes_used: int
    free_bytes: int | None


class RecordWriter(Protocol):
    """One record whose payload arrives in parts; nothing of it exists for readers until ``commit``."""

    def write(self, parts: Sequence[Bytes]) -> None:
        """Append to the payload; not yet durable. The parts may be overwritten after the return."""

    def commit(self, entry: Entry) -> SpoolRef:
        """Write the header and sync; durable on return."""

    def discard(self) -> None:
        """Give up the record and its space."""


class SpoolWriter(Protocol):
    """Where one listener makes instances durable. Every method may be called from any thread.

    Writing raises SpoolWriteError when the storage is full or failing.
    """

    def append(self, entry: Entry, parts: Sequence[Bytes] = (), *, sync: bool = True) -> SpoolRef:
        """Write one whole record; durable on return unless ``sync`` is False."""

    def begin(self) -> RecordWriter:
        """Begin a record whose length is not known yet, or that does not fit into memory."""

    def free_bytes(self) -> int:
        """Return the space left, bytes."""

    def preparing(self, floor_bytes: int) -> AbstractContextManager[None]:
        """While the context lasts, do in idle time what makes writing faster, and leave ``floor_bytes`` of the space."""


class SpoolReader(Protocol):
    """Reads what any listener wrote. Reading raises SpoolReadError."""

    def open(self, ref: SpoolRef) -> BinaryIO:
        """Return an instance's Part 10 file (preamble, file meta, data set), to be closed; only what is read is fetched."""

    def read(self, ref: SpoolRef) -> bytes:
        """Return the payload of a record."""


class SpoolIndex(Protocol):
    """What the indexer of one listener, and of those that it adopts, does with the spool."""

    def records(self, listener: str, since: Mapping[str, int], *, everything: bool = False) -> Iterator[SpooledRecord]:
        """Yield every whole record of a listener past the given watermark of each segment, oldest segment first.

        ``everything`` goes through the sealed segments too, each of which ends with ``SegmentFull`` again: for a ledger that
        was lost, or is older than the spool.
        """

    def waiting(self, listener: str, since: Mapping[str, int]) -> Iterator[Entry]:
        """Yield the entries that ``records`` would, by their heads alone, to be counted: one that is torn may be among them."""

    def payloads(self, refs: Iterable[SpoolRef]) -> Iterator[RawIOBase]:
        """Yield the payload of each record, to be read before the next; cheaper than ``open`` for many of one segment."""

    def segments(self, listener: str) -> frozenset[str]:
        """Return the segments of a listener that hold, or may hold, records; one that is not among them has gone for good."""

    def sync(self, segment: str) -> None:
        """Make what ``records`` showed of a segment durable, also what its writer has not synced yet."""

    def archive(self, segment: str) -> None:
        """Note that a segment is full and wholly indexed; a second call does nothing.

        Raises
        ------
        ValueError
            ``records`` has not told its ``SegmentFull``: what is still appended would never be indexed
        """

    def adopt(self, listener: str) -> None:
        """Close for good what a listener that is gone left unfilled, so that ``records`` tells ``SegmentFull`` there too."""

    def release(self, segment: str) -> None:
        """Give an archived segment's space back: nothing in it is referred to any more; a second call does nothing."""

    def listeners(self) -> frozenset[str]:
        """Return the names of all listeners that have written here."""

    def state(self) -> SpoolState:
        """Return how full the spool is, over all listeners."""


class Spool(SpoolWriter, SpoolReader, SpoolIndex, Protocol):
    """An engine: where records are stored, in a folder or elsewhere."""

    def close(self) -> None:
        """Give up what is open; another process goes on."""
