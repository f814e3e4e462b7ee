"""From the spool into the ledger, in batches: one transaction, one look-up of known instances, each statement once a batch."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from egfr_dls.content_digest import content_digest
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import Ledger, Tx, arrivals, commitments, instances
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.spool import AssociationEnded, CommitmentRequested, SegmentFull, Spool, SpooledRecord, SpoolReadError
from egfr_dls.study import ReceivedInstance, SpoolRef
from egfr_dls.telemetry import error_fields, get_logger
from listener.indexing.own import FRONT_BYTES, is_own, may_be_own

BATCH = 512  # records a transaction
_META_GROUP_LENGTH = struct.Struct("<132xHH2sHI")  # (0002,0000) UL after preamble and prefix (PS3.10 7.1)
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over the spool found that was new; ``ends``: the associations that had ended."""

    records: int
    ends: frozenset[str]


class Intake:
    """Reads records of the spool past the ledger's watermarks and enters them.

    Parameters
    ----------
    listener
        the name of this one, whose folder of the spool is indexed
    clock
        UTC seconds
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        site_key: bytes,
        listener: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._site_key = site_key
        self._listener = listener
        self._clock = clock
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))

    def recover(self, started_at: float) -> int:
        """Index everything that the last process of this name left; return how many associations it had left open.

        Sealed segments too, past their watermarks: a ledger that was lost, or is older than the spool, is filled again.

        Parameters
        ----------
        started_at
            UTC seconds: associations of which nothing came since then are aborted, others may be open now
        """
        self._forget_what_is_gone()
        self.index(everything=True)
        with self._ledger.begin() as tx:
            return arrivals.abort_open_associations(tx, self._listener, started_at)

    def _forget_what_is_gone(self) -> None:
        """Forget instances whose segments retention has released since a ledger was backed up that was put back.

        Else they would be taken for known when they are sent again.
        """
        with self._ledger.begin() as tx:
            gone = instances.segments_of(tx, self._listener) - self._spool.segments(self._listener)
            count = instances.forget_segments(tx, gone)
        if count:
            get_logger().warning("instances_gone", count=count)

    def adopt(self, listener: str, *, everything: bool) -> int:
        """Take over from a listener that is gone: index what it left, seal it; return how many records there were.

        The caller holds the name of that listener, so that it cannot come back meanwhile.
        """
        self._spool.adopt(listener)
        found = self.index(listener, everything=everything)
        with self._ledger.begin() as tx:
            arrivals.abort_open_associations(tx, listener, self._clock())
        return found.records

    def index(self, listener: str | None = None, *, everything: bool = False) -> Pass:
        """Enter every record that the spool holds now of a listener; by default of this one.

        Parameters
        ----------
        everything
            also what lies in sealed segments

        Raises
        ------
        TemporaryFailureError
            the ledger is locked, full or failing: nothing of the open batch is entered, the next call tries again
        """
        name = listener or self._listener
        with self._ledger.read() as tx:
            marks, sealed = instances.watermarks(tx), instances.sealed_segments(tx) if everything else frozenset()
        found = self._spool.records(name, marks, everything=everything)
        spooled = (r for r in found if r.ref.segment not in sealed or not isinstance(r.entry, SegmentFull))
        records, ends = 0, set[str]()
        while batch := list(islice(spooled, BATCH)):
            self._take(batch, name)
            records += sum(not isinstance(record.entry, SegmentFull) for record in batch)
            ends |= {record.entry.association_id for record in batch if isinstance(record.entry, AssociationEnded)}
        return Pass(records, frozenset(ends))

    def _take(self, batch: Sequence[SpooledRecord], listener: str) -> None:
        """Enter a batch; where that fails, each record by itself, so that one costs no other."""
        try:
            self._enter(batch, listener)
        except TemporaryFailureError:
            raise
        except Exception:  # noqa: BLE001  # told for the record that caused it
            for record in batch:
                self._enter_or_skip(record, listener)
        for segment in {r.ref.segment for r in batch if isinstance(r.entry, SegmentFull)}:
            self._spool.archive(segment)

    def _enter_or_skip(self, record: SpooledRecord, listener: str) -> None:
        """Enter a record; go on behind one that cannot be entered, and note it: its segment is kept."""
        try:
            self._enter([record], listener)
        except TemporaryFailureError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is: behind it lie those of others
            association = getattr(record.entry, "association_id", None)
            get_logger().error("record_not_indexed", association=association, **error_fields(error))
            with self._ledger.begin() as tx:
                instances.skip(tx, record.ref, type(error).__name__, self._clock())
                instances.advance(tx, {record.ref.segment: record.end})

    def _enter(self, batch: Sequence[SpooledRecord], listener: str) -> None:
        marks = {record.ref.segment: record.end for record in batch}
        full = {record.ref.segment for record in batch if isinstance(record.entry, SegmentFull)}
        for segment in marks:
            self._spool.sync(segment)  # the ledger never runs ahead of the disk
        received = [(r.entry, r.ref) for r in batch if isinstance(r.entry, ReceivedInstance)]
        payloads = self._spool.payloads(ref for _, ref in received)
        digests = [self._digest(payload, ref) for payload, (_, ref) in zip(payloads, received, strict=True)]
        seen = [
            IndexedInstance(entry, ref, digest, own=self._is_own(entry, ref))
            for (entry, ref), digest in zip(received, digests, strict=True)
        ]
        with self._ledger.begin() as tx:
            ours = arrivals.ours_among(tx, {entry.sop_instance_uid for entry, _ in received})
            found = [replace(one, own=True) if one.entry.sop_instance_uid in ours else one for one in seen]
            arrivals.enter(tx, found, self._site_key, listener)
            arrivals.enter_ends(tx, (r.entry for r in batch if isinstance(r.entry, AssociationEnded)), listener)
            self._enter_commitments(tx, batch, listener)
            instances.advance(tx, marks, full)

    def _is_own(self, entry: ReceivedInstance, ref: SpoolRef) -> bool:
        if not may_be_own(entry):
            return False
        with self._spool.open(ref) as part10:
            return is_own(entry, part10.read(FRONT_BYTES))

    def _enter_commitments(self, tx: Tx, batch: Sequence[SpooledRecord], listener: str) -> None:
        for record in batch:
            if isinstance(record.entry, CommitmentRequested):
                commitments.enter(tx, record.entry, self._spool.read(record.ref), listener, self._clock())

    def _digest(self, part10: io.RawIOBase, ref: SpoolRef) -> str:
        """Return the digest of an instance's data set as received, without file meta.

        Raises
        ------
        SpoolReadError
            there is less of it than its record says
        """
        return content_digest(self._data_set(part10, ref))

    def _data_set(self, part10: io.RawIOBase, ref: SpoolRef) -> Iterator[memoryview]:
        """Yield a data set part by part, each in the same buffer."""
        read = count = part10.readinto(self._buffer) or 0
        yield self._buffer[data_set_offset(self._buffer) : count]
        while count := part10.readinto(self._buffer):
            yield self._buffer[:count]
            read += count
        if read != ref.length:
            raise SpoolReadError(f"spool segment {ref.segment} ends within an instance at {ref.offset}")


def data_set_offset(part10: bytes | memoryview) -> int:
    """Return where the data set of a Part 10 file of ours begins, bytes: behind the file meta information."""
    _group, _element, _vr, _length, meta_length = _META_GROUP_LENGTH.unpack_from(part10)
    return _META_GROUP_LENGTH.size + int(meta_length)
