"""The listeners that share a storage root: each says, again and again, that it is alive."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import listener

LEASE_SECONDS = 60.0  # longer than any restart takes: who comes back in time finds everything as it was


def renew(tx: Tx, name: str, now: float) -> None:
    """Say that a listener is alive."""
    values = {"lease_until": now + LEASE_SECONDS}
    tx.execute(upsert(listener).values(name=name, **values).on_conflict_do_update(index_elements=["name"], set_=values))


def alive(tx: Tx, now: float) -> frozenset[str]:
    """Return the listeners whose lease has not run out."""
    return frozenset(tx.execute(select(listener.c.name).where(listener.c.lease_until > now)).scalars())
