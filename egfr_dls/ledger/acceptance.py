"""Which SOP classes a destination accepted, last time an association was opened: what is built for it depends on that."""

from __future__ import annotations

import json
from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.delivery import WAITING
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import acceptance, built_object, delivery, refused_class

REFUSED_SECONDS = 24 * 3600.0  # how long a refusal by status counts: then the class is tried again


def known(tx: Tx, destination_name: str) -> frozenset[str] | None:
    """Return the SOP Class UIDs that were accepted; None where no association was ever opened."""
    found = tx.scalar(select(acceptance.c.accepted).where(acceptance.c.destination == destination_name))
    return None if found is None else frozenset(json.loads(found))


def record(tx: Tx, destination_name: str, accepted: Collection[str], now: float) -> None:
    """Remember what was accepted just now."""
    values = {"accepted": json.dumps(sorted(accepted)), "asked_at": now}
    tx.execute(
        upsert(acceptance)
        .values(destination=destination_name, **values)
        .on_conflict_do_update(index_elements=["destination"], set_=values)
    )


def refuse(tx: Tx, destination_name: str, sop_class_uid: str, now: float) -> None:
    """Remember that a destination answers objects of a class with a refusal, though it accepts the class."""
    row = upsert(refused_class).values(destination=destination_name, sop_class_uid=sop_class_uid, refused_at=now)
    tx.execute(row.on_conflict_do_update(index_elements=["destination", "sop_class_uid"], set_={"refused_at": now}))


def refused(tx: Tx, destination_name: str, now: float) -> frozenset[str]:
    """Return the classes whose objects a destination refused lately."""
    rows = tx.scalars(
        select(refused_class.c.sop_class_uid).where(
            refused_class.c.destination == destination_name, refused_class.c.refused_at > now - REFUSED_SECONDS
        )
    )
    return frozenset(rows)


def forget_refused(tx: Tx, destination_names: Collection[str]) -> None:
    """Try the classes again that these destinations refused: a person has looked."""
    tx.execute(delete(refused_class).where(refused_class.c.destination.in_(list(destination_names))))


def reports_owed(tx: Tx, findings_id: int, destination_name: str) -> frozenset[str]:
    """Return the reports of these findings that a destination has or is to get, by SOP Instance UID."""
    rows = tx.scalars(
        select(delivery.c.sop_instance_uid)
        .join(built_object, built_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(
            built_object.c.findings_id == findings_id,
            built_object.c.kind == "report",
            delivery.c.destination == destination_name,
        )
    )
    return frozenset(rows)


def take_back(tx: Tx, destination_name: str, classes: Collection[str]) -> list[tuple[int, str]]:
    """Owe the destination no longer what waits of a report that is of these classes in part.

    What was sent already stays as it is. Whoever calls this has the reports made anew, which queues what fits.

    Returns
    -------
    whose it was: findings and Study Instance UID
    """
    waits = (delivery.c.destination == destination_name) & delivery.c.state.in_(WAITING)
    rows = tx.execute(
        select(built_object.c.findings_id, built_object.c.study_instance_uid)
        .join(delivery, delivery.c.sop_instance_uid == built_object.c.sop_instance_uid)
        .where(waits, built_object.c.sop_class_uid.in_(classes))
        .distinct()
        .order_by(built_object.c.findings_id)
    ).all()
    taken = select(built_object.c.sop_instance_uid).where(
        built_object.c.findings_id.in_([row.findings_id for row in rows]), built_object.c.kind != "rejection"
    )
    tx.execute(delete(delivery).where(waits, delivery.c.sop_instance_uid.in_(taken)))
    return [(row.findings_id, row.study_instance_uid) for row in rows]
