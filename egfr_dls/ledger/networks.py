"""Which networks score a study, as the inference stage opened them last: with others, another question is asked."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import networks_in_use


def note(tx: Tx, biomarker: str, digest: str) -> None:
    """Note the digest of a biomarker's networks."""
    row = upsert(networks_in_use).values(biomarker=biomarker, digest=digest)
    tx.execute(row.on_conflict_do_update(index_elements=["biomarker"], set_={"digest": digest}))


def in_use(tx: Tx, biomarker: str) -> str:
    """Return that digest; empty where no inference stage has begun yet."""
    digest: str | None = tx.scalar(select(networks_in_use.c.digest).where(networks_in_use.c.biomarker == biomarker))
    return digest or ""
