"""How many of each kind the ledger holds: what metrics show. Read only; each is one grouped query."""

from __future__ import annotations

from sqlalchemy import Column, func, select

from egfr_dls.delivery import NOT_PROVEN, DeliveryState
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.jobs import JobState
from egfr_dls.ledger.schema import (
    asked_commitment,
    association,
    commitment,
    delivery,
    instance,
    job,
    own_object_returned,
    study,
)

Counts = dict[tuple[str, ...], int]


def _grouped(tx: Tx, *columns: Column[str]) -> Counts:
    rows = tx.execute(select(*columns, func.count()).group_by(*columns))
    return {tuple(str(value) for value in row[:-1]): int(row[-1]) for row in rows}


def studies(tx: Tx) -> Counts:
    """Return how many studies are in each state."""
    return _grouped(tx, study.c.state)


def jobs(tx: Tx) -> Counts:
    """Return how many jobs of each kind are in each state."""
    return _grouped(tx, job.c.kind, job.c.state)


def deliveries(tx: Tx) -> Counts:
    """Return how many objects are in each state of delivery, for each destination."""
    return _grouped(tx, delivery.c.destination, delivery.c.state)


def associations(tx: Tx) -> Counts:
    """Return how many associations that brought something are in each state."""
    return _grouped(tx, association.c.state)


def commitments(tx: Tx) -> Counts:
    """Return how many storage commitment requests are in each state."""
    return _grouped(tx, commitment.c.state)


def asked_commitments(tx: Tx) -> Counts:
    """Return how many requests for storage commitment of ours are in each state, for each destination."""
    return _grouped(tx, asked_commitment.c.destination, asked_commitment.c.state)


def not_proven(tx: Tx) -> Counts:
    """Return how many objects are stored without the proof that was wanted, for each destination that has some."""
    rows = tx.execute(
        select(delivery.c.destination, func.count())
        .where(delivery.c.state == DeliveryState.STORED, delivery.c.reason == NOT_PROVEN)
        .group_by(delivery.c.destination)
    )
    return {(str(row[0]),): int(row[1]) for row in rows}


def instances(tx: Tx) -> int:
    """Return how many instances are kept."""
    return tx.scalar(select(func.count()).select_from(instance)) or 0


def own_objects_returned(tx: Tx) -> int:
    """Return how often an object of ours was sent back to us."""
    return int(tx.scalar(select(func.sum(own_object_returned.c.times))) or 0)


def oldest_ready_seconds(tx: Tx, now: float) -> dict[str, float]:
    """Return for each kind of job how long the oldest one that is due has waited."""
    rows = tx.execute(
        select(job.c.kind, func.min(job.c.run_at))
        .where(job.c.state == JobState.READY, job.c.run_at <= now)
        .group_by(job.c.kind)
    )
    return {row[0]: max(0.0, now - row[1]) for row in rows}
