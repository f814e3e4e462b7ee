"""The spool: where received instances are durable before the sender hears 0000H."""

from egfr_dls.spool.contract import (
    AssociationEnded,
    CommitmentRequested,
    Entry,
    RecordWriter,
    SegmentFull,
    Spool,
    SpooledRecord,
    SpoolIndex,
    SpoolReader,
    SpoolReadError,
    SpoolState,
    SpoolWriteError,
    SpoolWriter,
)
from egfr_dls.spool.directory import DirectorySpool

__all__ = [
    "AssociationEnded",
    "CommitmentRequested",
    "DirectorySpool",
    "Entry",
    "RecordWriter",
    "SegmentFull",
    "Spool",
    "SpoolIndex",
    "SpoolReadError",
    "SpoolReader",
    "SpoolState",
    "SpoolWriteError",
    "SpoolWriter",
    "SpooledRecord",
]
