"""The indexer: writes the ledger behind the spool, in batches. One per spool; no sender waits for it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

from egfr_dls.ledger import Ledger, Tx, instances, results
from egfr_dls.ledger.instances import IndexedInstance
from egfr_dls.spool import AssociationEnded, DirectorySpool, SegmentFull, SpooledRecord
from egfr_dls.study import ReceivedInstance
from listener.own import is_own
from listener.transfer import frame_of_reference_uid

BATCH = 128  # records a transaction
_META_GROUP_LENGTH = struct.Struct("<132xHH2sHI")  # (0002,0000) UL after preamble and prefix (PS3.10 7.1)


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over the spool found that was new."""

    records: int
    releases: int


class Intake:
    """Reads records of the spool past the ledger's watermarks and enters them.

    Parameters
    ----------
    listener
        name of this listener in the association table
    """

    def __init__(self, ledger: Ledger, spool: DirectorySpool, site_key: bytes, listener: str) -> None:
        self._ledger = ledger
        self._spool = spool
        self._site_key = site_key
        self._listener = listener

    def recover(self) -> int:
        """Index everything that the last listener left, and mark its associations as aborted; return how many there were.

        The only listener of the spool calls this before it accepts its first association.
        """
        while self.index().records:
            pass
        with self._ledger.begin() as tx:
            return instances.abort_open_associations(tx)

    def index(self, ended: Sequence[str] = ()) -> Pass:
        """Enter every record that the spool holds now.

        Parameters
        ----------
        ended
            associations that had ended before the call: those that were not released become aborted

        Raises
        ------
        TemporaryFailureError
            the ledger is locked, full or failing: nothing of the open batch is entered, the next call tries again
        """
        with self._ledger.read() as tx:
            marks = instances.watermarks(tx)
        names = sorted(self._spool.listeners())
        spooled = chain.from_iterable(self._spool.records(name, marks, everything=not marks) for name in names)
        records = releases = 0
        while batch := list(islice(spooled, BATCH)):
            self._enter(batch)
            records += sum(not isinstance(record.entry, SegmentFull) for record in batch)
            releases += sum(isinstance(record.entry, AssociationEnded) for record in batch)
        if ended:
            with self._ledger.begin() as tx:
                for association_id in ended:
                    instances.abort_association(tx, association_id)
        return Pass(records, releases)

    def _enter(self, batch: list[SpooledRecord]) -> None:
        marks = {record.ref.segment: record.end for record in batch}
        for segment in marks:
            self._spool.sync(segment)  # the ledger never runs ahead of the disk
        bodies = [self._body(record) for record in batch]
        with self._ledger.begin() as tx:
            for record, part10 in zip(batch, bodies, strict=True):
                self._enter_one(tx, record, part10)
            instances.advance(tx, marks)
        for record in batch:
            if isinstance(record.entry, SegmentFull):
                self._spool.archive(record.ref.segment)

    def _body(self, record: SpooledRecord) -> bytes:
        return self._spool.read(record.ref) if isinstance(record.entry, ReceivedInstance) else b""

    def _enter_one(self, tx: Tx, record: SpooledRecord, part10: bytes) -> None:
        entry = record.entry
        if isinstance(entry, AssociationEnded):
            instances.release_association(tx, entry.association_id, self._listener, entry.ended_at.timestamp())
        if not isinstance(entry, ReceivedInstance):
            return
        own = is_own(entry, part10, known=results.is_ours(tx, entry.sop_instance_uid))
        instances.add(tx, _indexed(entry, record, part10, own=own), self._site_key, self._listener)


def _indexed(entry: ReceivedInstance, record: SpooledRecord, part10: bytes, *, own: bool) -> IndexedInstance:
    data = part10[data_set_offset(part10) :]
    return IndexedInstance(
        entry,
        record.ref,
        hashlib.sha256(data).hexdigest(),
        frame_of_reference_uid(data, entry.transfer_syntax_uid),
        own,
    )


def data_set_offset(part10: bytes) -> int:
    """Return where the data set of a Part 10 file of ours begins, bytes: behind the file meta information."""
    _group, _element, _vr, _length, meta_length = _META_GROUP_LENGTH.unpack_from(part10)
    return _META_GROUP_LENGTH.size + int(meta_length)
