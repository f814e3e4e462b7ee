"""What the indexer writes of associations: when each brought something last, in whatever order it is entered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Table, select

from egfr_dls.ledger import Tx, arrivals, schema
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.study import ReceivedInstance, SpoolRef

AT = datetime(2026, 1, 2, tzinfo=UTC)
ENTRY = ReceivedInstance(
    "1.2.840.10008.5.1.4.1.1.2", "1.2.1.1", "1.2", "1.2.1", "CT", "1.2.840.10008.1.2.1", "SCANNER", "EGFR_DLS", "127.0.0.1",
    "a", AT,
)  # fmt: skip


def seen(second: int) -> IndexedInstance:
    entry = replace(ENTRY, sop_instance_uid=f"1.2.1.{second}", received_at=AT + timedelta(seconds=second))
    return IndexedInstance(entry, SpoolRef("s", second, 1), f"d{second}", own=False)


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
@pytest.mark.parametrize("table", [schema.association, schema.association_study], ids=lambda table: str(table.name))
def test_an_association_never_grows_older(tx: Tx, table: Table, together: bool) -> None:
    """Its records stand in several segments, and those of one may be entered after later ones of another."""
    found = [seen(5), seen(9), seen(7)]
    for batch in [found] if together else [[one] for one in found]:
        arrivals.enter(tx, batch, b"key", "listener-1")
    assert tx.scalar(select(table.c.last_record_at)) == AT.timestamp() + 9
