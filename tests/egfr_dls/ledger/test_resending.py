"""A destination that lost a result: what was there is queued once more, and nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from egfr_dls.delivery import THERE, TRANSITIONS, DeliveryState
from egfr_dls.ledger import Tx, proofs, resending
from egfr_dls.ledger.schema import delivery
from tests.egfr_dls.ledger.test_withdrawals import KINDS, NOW, put, result, uid

LATER = NOW + 3600


@pytest.mark.parametrize("state", DeliveryState)
def test_only_what_was_there_goes_again(tx: Tx, state: DeliveryState) -> None:
    findings = result(tx, 1)
    put(tx, uid(1, "report"), state, attempts=2)
    count = resending.send_again(tx, "1", [o for o in resending.owed(tx, findings) if o.kind == "report"], LATER)
    row = tx.execute(select(delivery).where(delivery.c.sop_instance_uid == uid(1, "report"))).one()
    assert count == (state in THERE)
    assert row.state == ("queued" if state in THERE else state)
    assert row.attempts == 2, "who withdraws it later has to know that it was sent"
    if state in THERE:
        assert DeliveryState.QUEUED in TRANSITIONS[state]
        assert (row.due_at, row.first_try_at, row.proof_due_at, row.reason) == (LATER, None, None, "")


def test_another_destination_is_left_alone(tx: Tx) -> None:
    findings = result(tx, 1, "1", "pacs", "other")
    for kind in KINDS:
        for name in ("pacs", "other"):
            put(tx, uid(1, kind), DeliveryState.COMMITTED, destination=name)
    to_pacs = [one for one in resending.owed(tx, findings) if one.destination == "pacs"]
    assert [one.kind for one in to_pacs] == list(KINDS)
    assert resending.send_again(tx, "1", to_pacs, LATER) == 3
    assert {(o.destination, o.state) for o in resending.owed(tx, findings)} == {
        ("pacs", DeliveryState.QUEUED),
        ("other", DeliveryState.COMMITTED),
    }
    again = resending.owed(tx, findings)
    assert resending.send_again(tx, "1", [o for o in again if o.destination == "pacs"], LATER) == 0, "twice is once"
    assert resending.on_their_way(again) == 3


def test_a_report_of_commitment_from_before_proves_nothing_of_what_goes_now(tx: Tx) -> None:
    findings = result(tx, 1)
    for kind in KINDS:
        put(tx, uid(1, kind), DeliveryState.STORED)
    proofs.ask(tx, "2.25.1", "pacs", proofs.due(tx, "pacs", NOW), NOW, NOW + 60)
    resending.send_again(tx, "1", resending.owed(tx, findings), LATER)
    assert proofs.hear(tx, "2.25.1", {uid(1, "report")}, {}), "it is known"
    assert proofs.heard(tx, "pacs") == [], "and says nothing any more"
