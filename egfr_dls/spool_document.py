"""What `studies list` says of the spool, as data and as a line of text."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain, islice
from typing import Any

from rich.console import Console
from rich.filesize import decimal

from egfr_dls.ledger import Ledger, instances
from egfr_dls.spool import AssociationEnded, CommitmentRequested, SegmentFull, SpoolIndex
from egfr_dls.study import ReceivedInstance

COUNTED = 1000  # the heads of records that wait to be indexed are read to be counted: no more than so many


def state(ledger: Ledger, spool: SpoolIndex, now: float) -> dict[str, Any]:
    """Return how full the spool is, and what of it is not in the ledger yet.

    ``unindexed`` counts to 1000 and no further; ``oldest_unindexed_seconds`` is null where nothing waits.
    """
    with ledger.read() as tx:
        marks = instances.watermarks(tx)
    waiting = chain.from_iterable(spool.waiting(name, marks) for name in sorted(spool.listeners()))
    times = [_written_at(entry) for entry in islice(waiting, COUNTED) if not isinstance(entry, SegmentFull)]
    return {
        **asdict(spool.state()),
        "unindexed": len(times),
        "oldest_unindexed_seconds": max(0.0, now - min(times)) if times else None,
    }


def render(document: dict[str, Any], console: Console) -> None:
    """Print the state in a line."""
    free = document["free_bytes"]
    line = (
        f"spool: {document['ready']} segments ready, {document['active']} active, {document['sealed']} sealed; "
        f"{decimal(document['bytes_used'])} used, {'no known end' if free is None else f'{decimal(free)} free'}"
    )
    if document["unindexed"]:
        more = " or more" if document["unindexed"] >= COUNTED else ""
        oldest = f"{document['oldest_unindexed_seconds']:.0f} s"
        line += f"; {document['unindexed']}{more} records wait to be indexed, the oldest for {oldest}"
    console.print(line, highlight=False, soft_wrap=True)


def _written_at(entry: ReceivedInstance | AssociationEnded | CommitmentRequested) -> float:
    return (entry.ended_at if isinstance(entry, AssociationEnded) else entry.received_at).timestamp()
