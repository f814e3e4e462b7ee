"""Proof of what is stored at a destination: storage commitment that we ask for (PS3.4 Annex J), and queries.

The reporter asks; the report comes on the association that asked, or on a new one to the listener, which never import one
another: whoever hears it writes it down here, and the reporter concludes. A request stands here before it leaves, so that no
report is of an unknown transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, case, func, insert, select, update

from egfr_dls.delivery import NOT_PROVEN, DeliveryState
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import asked_commitment, built_object, delivery, study


class AskedState(StrEnum):
    """Where a request of ours stands."""

    ASKED = "asked"  # about to leave, or left
    HEARD = "heard"  # its report is here
    CONCLUDED = "concluded"  # what the report says stands with the deliveries


TRANSITIONS: Mapping[AskedState, frozenset[AskedState]] = {
    AskedState.ASKED: frozenset({AskedState.HEARD, AskedState.CONCLUDED}),  # what it is about may be sent anew
    AskedState.HEARD: frozenset({AskedState.HEARD, AskedState.CONCLUDED}),  # the same report may come twice
    AskedState.CONCLUDED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class DueProof:
    """An object that is stored at a destination, and of which that should be proven now."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    study_key: str
    kind: str
    tries: int  # that ended without a word of this object
    absences: int


@dataclass(frozen=True, slots=True)
class HeardReport:
    """What a destination reports of one transaction; ``failures``: SOP Instance UID -> Failure Reason (0008,1197)."""

    transaction_uid: str
    asked_of: tuple[DueProof, ...]  # those of its objects that are not proven yet
    committed: frozenset[str]
    failures: Mapping[str, int]


def due(tx: Tx, destination_name: str, now: float, limit: int = 256) -> list[DueProof]:
    """Return what should be proven now, longest due first."""
    query = _STORED.where(delivery.c.destination == destination_name, delivery.c.proof_due_at <= now)
    rows = tx.execute(query.order_by(delivery.c.proof_due_at, built_object.c.send_order).limit(limit))
    return [DueProof(*row) for row in rows]


def ask(
    tx: Tx, transaction_uid: str, destination_name: str, about: Collection[DueProof], now: float, again_at: float
) -> None:
    """Enter a request about objects of one study, before it leaves; without a report they are due again at ``again_at``."""
    uids = [one.sop_instance_uid for one in about]
    tx.execute(
        insert(asked_commitment).values(
            transaction_uid=transaction_uid,
            destination=destination_name,
            study_instance_uid=next(iter(about)).study_instance_uid,
            sop_instance_uids=json.dumps(uids),
            asked_at=now,
            state=AskedState.ASKED,
        )
    )
    for uid in uids:
        postpone(tx, uid, destination_name, again_at)


def hear(tx: Tx, transaction_uid: str, committed: Collection[str], failures: Mapping[str, int]) -> bool:
    """Write a report down; return whether we asked for it. One that was concluded already changes nothing."""
    heard = tx.execute(
        update(asked_commitment)
        .where(asked_commitment.c.transaction_uid == transaction_uid, asked_commitment.c.state.in_(_before_heard()))
        .values(state=AskedState.HEARD, committed=json.dumps(sorted(committed)), failures=json.dumps(dict(failures)))
    )
    known = select(asked_commitment.c.state).where(asked_commitment.c.transaction_uid == transaction_uid)
    return heard.rowcount == 1 or tx.execute(known).first() is not None


def heard(tx: Tx, destination_name: str) -> list[HeardReport]:
    """Return the reports of a destination that are not concluded."""
    rows = tx.execute(
        select(asked_commitment)
        .where(asked_commitment.c.state == AskedState.HEARD, asked_commitment.c.destination == destination_name)
        .order_by(asked_commitment.c.asked_at)
    )
    return [
        HeardReport(
            row.transaction_uid,
            _stored_of(tx, destination_name, json.loads(row.sop_instance_uids)),
            frozenset(json.loads(row.committed)),
            json.loads(row.failures),
        )
        for row in rows
    ]


def all_heard(tx: Tx, transaction_uids: Collection[str]) -> bool:
    """Whether there is a report for each of these requests."""
    silent = select(func.count()).where(
        asked_commitment.c.transaction_uid.in_(transaction_uids), asked_commitment.c.state == AskedState.ASKED
    )
    return tx.scalar(silent) == 0


def conclude(tx: Tx, transaction_uid: str) -> None:
    """Note that what a report says stands with the deliveries."""
    tx.execute(
        update(asked_commitment)
        .where(asked_commitment.c.transaction_uid == transaction_uid, asked_commitment.c.state == AskedState.HEARD)
        .values(state=AskedState.CONCLUDED)
    )


def await_no_longer(tx: Tx, study_instance_uid: str, destination_name: str) -> None:
    """Conclude every request about a study's objects: what it would have said is of objects that go once more."""
    tx.execute(
        update(asked_commitment)
        .where(
            asked_commitment.c.study_instance_uid == study_instance_uid,
            asked_commitment.c.destination == destination_name,
            asked_commitment.c.state != AskedState.CONCLUDED,
        )
        .values(state=AskedState.CONCLUDED)
    )


def postpone(tx: Tx, sop_instance_uid: str, destination_name: str, due_at: float, *, counts: bool = True) -> None:
    """Count a try, unless it is counted, and prove again at ``due_at``."""
    tx.execute(
        update(delivery)
        .where(_is(sop_instance_uid, destination_name), delivery.c.state == DeliveryState.STORED)
        .values(proof_due_at=due_at, proof_tries=delivery.c.proof_tries + int(counts))
    )


def give_up(tx: Tx, sop_instance_uid: str, destination_name: str, reason: str) -> None:
    """Leave an object stored and not proven; a report that comes later still counts."""
    tx.execute(
        update(delivery)
        .where(_is(sop_instance_uid, destination_name), delivery.c.state == DeliveryState.STORED)
        .values(proof_due_at=None, reason=reason)
    )


def settle(
    tx: Tx, sop_instance_uid: str, destination_name: str, to: DeliveryState, now: float, reason: str | None = None
) -> int | None:
    """Record what a proof came to; return the attempts of sending, None where the delivery cannot go there.

    Parameters
    ----------
    to
        one that STORED leads to; what is queued again is due at once, and has not been there once more
    reason
        None: that of storing stays
    """
    of_storing = case((delivery.c.reason == NOT_PROVEN, ""), else_=delivery.c.reason)
    values: dict[str, object] = {"state": to, "proof_due_at": None, "reason": of_storing if reason is None else reason}
    if to is DeliveryState.QUEUED:
        values |= {"due_at": now, "absences": delivery.c.absences + 1}
    attempts: int | None = tx.execute(
        update(delivery)
        .where(_is(sop_instance_uid, destination_name), delivery.c.state == DeliveryState.STORED)
        .values(**values)
        .returning(delivery.c.attempts)
    ).scalar_one_or_none()
    return attempts


def _before_heard() -> list[AskedState]:
    return [state for state in AskedState if AskedState.HEARD in TRANSITIONS[state]]


def _stored_of(tx: Tx, destination_name: str, uids: Collection[str]) -> tuple[DueProof, ...]:
    query = _STORED.where(delivery.c.destination == destination_name, delivery.c.sop_instance_uid.in_(uids))
    return tuple(DueProof(*row) for row in tx.execute(query.order_by(built_object.c.send_order)))


def _is(sop_instance_uid: str, destination_name: str) -> ColumnElement[bool]:
    return and_(delivery.c.sop_instance_uid == sop_instance_uid, delivery.c.destination == destination_name)


_STORED = (
    select(
        built_object.c.sop_instance_uid,
        built_object.c.sop_class_uid,
        built_object.c.series_instance_uid,
        built_object.c.study_instance_uid,
        study.c.study_key,
        built_object.c.kind,
        delivery.c.proof_tries,
        delivery.c.absences,
    )
    .join(built_object, built_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
    .join(study, study.c.study_instance_uid == built_object.c.study_instance_uid)
    .where(delivery.c.state == DeliveryState.STORED)
)
