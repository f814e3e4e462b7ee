"""Destinations: who sends to each, by a lease, and to which nothing is sent until a person has looked."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.delivery import WAITING
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import built_object, delivery, destination


def claim(tx: Tx, name: str, sender: str, now: float, lease_seconds: float) -> str | None:
    """Take or renew the sender lease of a destination.

    Returns
    -------
    the reason for which the destination is parked, "" when it is open, or None when another sender holds the lease
    """
    tx.execute(upsert(destination).values(name=name).on_conflict_do_nothing())
    row = tx.execute(
        update(destination)
        .where(destination.c.name == name, (destination.c.sender == sender) | (destination.c.lease_until < now))
        .values(sender=sender, lease_until=now + lease_seconds)
        .returning(destination.c.parked_reason)
    ).one_or_none()
    return None if row is None else row.parked_reason or ""


def release(tx: Tx, name: str, sender: str) -> None:
    """Give the sender lease back, so that another reporter need not wait for its end."""
    tx.execute(
        update(destination)
        .where(destination.c.name == name, destination.c.sender == sender)
        .values(sender=None, lease_until=0.0)
    )


def parked_reasons(tx: Tx, study_instance_uid: str | None = None) -> dict[str, str | None]:
    """Return each destination with the reason for which it is parked: all, or those of a study's objects."""
    query = select(destination.c.name, destination.c.parked_reason).order_by(destination.c.name)
    if study_instance_uid is not None:
        objects = select(built_object.c.sop_instance_uid).where(built_object.c.study_instance_uid == study_instance_uid)
        names = select(delivery.c.destination).where(delivery.c.sop_instance_uid.in_(objects))
        query = query.where(destination.c.name.in_(names))
    return {row.name: row.parked_reason for row in tx.execute(query)}


def park(tx: Tx, name: str, reason: str) -> None:
    """Stop sending to a destination until an operator has looked (`egfr-dls studies retry`)."""
    tx.execute(update(destination).where(destination.c.name == name).values(parked_reason=reason))


def unpark(tx: Tx, names: Iterable[str]) -> None:
    """Send to parked destinations again; what waited there was not refused, so its day begins anew."""
    wanted = list(names)
    tx.execute(update(destination).where(destination.c.name.in_(wanted)).values(parked_reason=None))
    tx.execute(
        update(delivery)
        .where(delivery.c.destination.in_(wanted), delivery.c.state.in_(WAITING))
        .values(first_try_at=None)
    )
