"""A destination that lost a result gets its objects again: the same bytes, by the same states and the same proof."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select, update

from egfr_dls.delivery import THERE, WAITING, DeliveryState
from egfr_dls.ledger import proofs
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import built_object, delivery
from egfr_dls.ledger.withdrawals import NOTE


@dataclass(frozen=True, slots=True)
class Owed:
    """An object of a result at one destination."""

    sop_instance_uid: str
    kind: str
    sha256: str
    destination: str
    state: DeliveryState


def owed(tx: Tx, findings_id: int) -> list[Owed]:
    """Return every delivery of a result's objects, by destination in their order of sending."""
    rows = tx.execute(
        select(built_object.c.sop_instance_uid, built_object.c.kind, built_object.c.sha256, delivery.c.destination,
               delivery.c.state)
        .join(delivery, delivery.c.sop_instance_uid == built_object.c.sop_instance_uid)
        .where(built_object.c.findings_id == findings_id, built_object.c.kind != NOTE)
        .order_by(delivery.c.destination, built_object.c.send_order, built_object.c.sop_instance_uid)
    )  # fmt: skip
    return [Owed(*row[:-1], DeliveryState(row.state)) for row in rows]


def send_again(tx: Tx, study_instance_uid: str, what: Collection[Owed], now: float) -> int:
    """Queue those that are there once more, as if they had never been sent but for their count of attempts.

    Reports of storage commitment that were asked for before say nothing of what is sent now: they are no longer awaited.

    Returns
    -------
    how many are queued
    """
    count = 0
    for one in what:
        count += tx.execute(
            update(delivery)
            .where(
                delivery.c.sop_instance_uid == one.sop_instance_uid,
                delivery.c.destination == one.destination,
                delivery.c.state.in_(THERE),
            )
            .values(state=DeliveryState.QUEUED, first_try_at=None, due_at=now, last_status=None, reason="", alike=0,
                    proof_due_at=None, proof_tries=0, absences=0)
        ).rowcount  # fmt: skip
    for name in {one.destination for one in what}:
        proofs.await_no_longer(tx, study_instance_uid, name)
    return count


def on_their_way(what: Collection[Owed]) -> int:
    """Return how many wait to be sent already."""
    return sum(one.state in WAITING for one in what)
