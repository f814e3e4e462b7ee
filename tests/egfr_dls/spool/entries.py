"""Entries for a spool, and a look at what it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from egfr_dls.spool import AssociationEnded, CommitmentRequested, DirectorySpool, SegmentFull, SpooledRecord
from egfr_dls.study import ReceivedInstance

LISTENER = "listener-a"
SEGMENT_BYTES = 16 * 1024
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENTRY = ReceivedInstance(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3",
    study_instance_uid="1.2",
    series_instance_uid="1.2.1",
    modality="CT",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    calling_ae_title="SCANNER",
    called_ae_title="EGFR_DLS",
    peer_address="127.0.0.1",
    association_id="a",
    received_at=AT,
)
ENDED = AssociationEnded("a", AT, released=True)
REQUESTED = CommitmentRequested("1.2.9", "1.2.840.10008.1.2.1", "SCANNER", "EGFR_DLS", "127.0.0.1", "a", AT)


def numbered(n: int) -> ReceivedInstance:
    """Return an instance that is told from others by its number."""
    return replace(ENTRY, sop_instance_uid=f"1.2.3.{n}")


def records(spool: DirectorySpool, listener: str = LISTENER) -> list[SpooledRecord]:
    """Return every record of a listener, without the ends of segments."""
    found = spool.records(listener, {}, everything=True)
    return [record for record in found if not isinstance(record.entry, SegmentFull)]


def entries(spool: DirectorySpool, listener: str = LISTENER) -> list[object]:
    """Return what is recorded of a listener."""
    return [record.entry for record in records(spool, listener)]


def files(root: Path, state: str, listener: str = LISTENER) -> list[Path]:
    """Return the segments of a listener in a state."""
    return sorted((root / listener / state).iterdir())


def fill(spool: DirectorySpool, n: int = 0) -> str:
    """Fill a segment with one record and return its name."""
    return spool.append(numbered(n), [bytes(SEGMENT_BYTES)]).segment
