"""Deliveries: one row per object and destination, from queued to an end state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Float,
    Integer,
    Row,
    Select,
    String,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.delivery import (
    DEMONSTRATION,
    NOT_PROVEN,
    OVER,
    PASSED,
    STUCK,
    THERE,
    TRANSITIONS,
    WAITING,
    DeliveryState,
)
from egfr_dls.ledger import acceptance, destinations
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import built_object, delivery, destination, findings, study

POINTS_AT = {"report": "roi", "pdf": "report"}  # Referenced Segment (TID 1411), Source Instance Sequence (0042,0013)


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """An object that should go to a destination now."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    study_key: str
    kind: str
    sha256: str
    attempts: int
    first_try_at: float | None
    reason: str  # of the last attempt
    alike: int  # attempts in a row that ended with that reason


def queue(
    tx: Tx, sop_instance_uids: Iterable[str], destination_name: str, now: float, *, parked_reason: str = ""
) -> None:
    """Make the rows of one destination; with a reason they wait, parked, for a person."""
    state = DeliveryState.PARKED if parked_reason else DeliveryState.QUEUED
    for uid in sop_instance_uids:
        tx.execute(
            upsert(delivery)
            .values(
                sop_instance_uid=uid, destination=destination_name, state=state, due_at=now, reason=parked_reason
            )
            .on_conflict_do_nothing()
        )  # fmt: skip


def due(tx: Tx, destination_name: str, now: float, limit: int = 64) -> list[DueDelivery]:
    """Return what should go to a destination now, study by study, the urgent first, each in its order of sending.

    What points at an object that is not there, and is not due either, is left out, so that it keeps no place from others.
    """
    rows = tx.execute(_DUE, {"to_destination": destination_name, "now": now, "at_most": limit})
    return [
        DueDelivery(
            r.sop_instance_uid, r.sop_class_uid, r.transfer_syntax_uid, r.study_instance_uid, r.study_key, r.kind,
            r.sha256, r.attempts, r.first_try_at, r.reason, r.alike,
        )
        for r in rows
    ]  # fmt: skip


def blocked(tx: Tx, sop_instance_uid: str, destination_name: str) -> bool:
    """Whether the object that this one points at is not at the destination yet (``POINTS_AT``): it never goes before it."""
    me = tx.execute(select(built_object).where(built_object.c.sop_instance_uid == sop_instance_uid)).one()
    absent = _pairs(me.findings_id).where(built_object.c.kind == POINTS_AT.get(me.kind), _absent(destination_name))
    return tx.execute(absent.limit(1)).first() is not None


def _pairs(findings_id: Any) -> Select[Any]:
    """Return the deliveries of the objects of one findings row."""
    return (
        select(delivery.c.sop_instance_uid)
        .join(built_object, built_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(built_object.c.findings_id == findings_id)
    )


def _absent(destination_name: Any) -> ColumnElement[bool]:
    return and_(delivery.c.destination == destination_name, delivery.c.state.not_in(PASSED))


def report_waits(tx: Tx, sop_instance_uid: str, destination_name: str) -> bool:
    """Whether this is a SEG whose report waits at the destination: it stays until the SEG is there."""
    me = tx.execute(select(built_object).where(built_object.c.sop_instance_uid == sop_instance_uid)).one()
    waiting = _pairs(me.findings_id).where(
        built_object.c.kind == "report",
        delivery.c.destination == destination_name,
        delivery.c.state.in_(WAITING),
    )
    return me.kind == "roi" and tx.execute(waiting.limit(1)).first() is not None


def begin_attempt(tx: Tx, sop_instance_uid: str, destination_name: str, now: float) -> int | None:
    """Record that the request is about to leave, before it leaves; return as ``settle`` does."""
    return _set(
        tx,
        sop_instance_uid,
        destination_name,
        DeliveryState.SENT,
        attempts=delivery.c.attempts + 1,
        first_try_at=func.coalesce(delivery.c.first_try_at, now),
    )


def settle(
    tx: Tx,
    sop_instance_uid: str,
    destination_name: str,
    to: DeliveryState,
    *,
    status: int | None = None,
    reason: str = "",
    alike: int = 1,
    due_at: float | None = None,
    proof_due_at: float | None = None,
) -> int | None:
    """Record what became of an attempt.

    Parameters
    ----------
    proof_due_at
        of what is stored: when to ask for its proof; None: none is owed

    Returns
    -------
    the attempts made, or None where nothing was written: from its present state the delivery cannot go there
    """
    values: dict[str, Any] = {
        "last_status": status,
        "reason": reason,
        "alike": alike,
        "proof_due_at": proof_due_at,
        "proof_tries": 0,
    }
    if due_at is not None:
        values["due_at"] = due_at
    return _set(tx, sop_instance_uid, destination_name, to, **values)


def note_try(tx: Tx, sop_instance_uid: str, destination_name: str, now: float, reason: str) -> None:
    """Record that the destination could not be reached: no attempt is counted, but the day to give up after begins."""
    tx.execute(
        update(delivery)
        .where(
            delivery.c.sop_instance_uid == sop_instance_uid,
            delivery.c.destination == destination_name,
            delivery.c.state.in_(WAITING),
        )
        .values(first_try_at=func.coalesce(delivery.c.first_try_at, now), reason=reason)
    )


def revive(tx: Tx, study_instance_uid: str, now: float, *, demonstrations: bool) -> int:
    """Queue a study's parked and dead deliveries again, same bytes; make its waiting ones due now. Return how many.

    Its destinations are opened, and for all that waits there the day to give up after begins anew. Those that wait
    because a demonstration network made them go only where ``demonstrations`` are allowed. What could not be proven is
    asked for again, and so are the classes that its destinations refused.
    """
    uids = select(built_object.c.sop_instance_uid).where(built_object.c.study_instance_uid == study_instance_uid)
    revived = tx.execute(
        update(delivery)
        .where(delivery.c.sop_instance_uid.in_(uids), _needs_a_person(demonstrations=demonstrations))
        .values(
            state=DeliveryState.QUEUED,
            attempts=func.min(delivery.c.attempts, 1),  # a request may have left: who withdraws it has to know
            first_try_at=None,
            due_at=now,
            absences=0,
            reason="",
        )
    )
    unproven = tx.execute(
        update(delivery)
        .where(delivery.c.sop_instance_uid.in_(uids), _lacks_proof())
        .values(proof_due_at=now, proof_tries=0, reason="")
    )
    hurried = tx.execute(
        update(delivery)
        .where(delivery.c.sop_instance_uid.in_(uids), delivery.c.state.in_(WAITING), delivery.c.due_at > now)
        .values(due_at=now)
    )
    begin_day_anew(tx, study_instance_uid)
    parked = destinations.parked_reasons(tx, study_instance_uid)
    destinations.unpark(tx, [name for name, reason in parked.items() if reason is not None])
    acceptance.forget_refused(tx, parked)
    return revived.rowcount + unproven.rowcount + hurried.rowcount


def begin_day_anew(tx: Tx, study_instance_uid: str) -> None:
    """Let the day to give up after begin at the next try of what waits of a study: a person held it back, not the PACS."""
    uids = select(built_object.c.sop_instance_uid).where(built_object.c.study_instance_uid == study_instance_uid)
    tx.execute(
        update(delivery)
        .where(delivery.c.sop_instance_uid.in_(uids), delivery.c.state.in_(WAITING))
        .values(first_try_at=None)
    )


def stuck_studies(tx: Tx, *, demonstrations: bool) -> list[str]:
    """Return the studies of which something is parked, dead or not proven, or waits at a parked destination."""
    waits = delivery.c.state.in_(WAITING) & delivery.c.destination.in_(
        select(destination.c.name).where(destination.c.parked_reason.is_not(None))
    )
    rows = tx.execute(
        select(built_object.c.study_instance_uid)
        .join(delivery, delivery.c.sop_instance_uid == built_object.c.sop_instance_uid)
        .where(_needs_a_person(demonstrations=demonstrations) | _lacks_proof() | waits)
        .distinct()
    )
    return list(rows.scalars())


def _needs_a_person(*, demonstrations: bool) -> ColumnElement[bool]:
    stays = () if demonstrations else (DEMONSTRATION,)
    return delivery.c.state.in_(STUCK) & delivery.c.reason.not_in(stays)


def _lacks_proof() -> ColumnElement[bool]:
    """Whether an object is stored and its proof, which was wanted, was given up."""
    return and_(delivery.c.state == DeliveryState.STORED, delivery.c.reason == NOT_PROVEN)


def is_over() -> ColumnElement[bool]:
    """Whether nothing more is awaited of a delivery: it is proven, stored where no proof is owed, not accepted, withdrawn."""
    return and_(delivery.c.state.in_(OVER), delivery.c.proof_due_at.is_(None))


def of_study(tx: Tx, study_instance_uid: str) -> list[Row[Any]]:
    """Return every delivery row of a study with its object's kind."""
    return list(
        tx.execute(
            select(delivery, built_object.c.kind, built_object.c.sop_class_uid, built_object.c.findings_id)
            .join(built_object, built_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
            .where(built_object.c.study_instance_uid == study_instance_uid)
            .order_by(built_object.c.findings_id, built_object.c.send_order, delivery.c.destination)
        ).all()
    )


def report_arrived(tx: Tx, study_instance_uid: str, required: Iterable[str]) -> bool:
    """Whether nothing more is awaited of the newest report at any required destination."""
    newest = (
        select(func.max(findings.c.id)).where(findings.c.study_instance_uid == study_instance_uid).scalar_subquery()
    )
    arrived = tx.execute(
        select(delivery.c.destination)
        .join(built_object, built_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(built_object.c.findings_id == newest, built_object.c.kind == "report", is_over())
    )
    wanted = set(required)
    return bool(wanted) and wanted <= set(arrived.scalars())


def anything_left(tx: Tx, study_instance_uid: str) -> bool:
    """Whether something of a study waits for being sent, or for its proof."""
    rows = of_study(tx, study_instance_uid)
    return any(row.state in WAITING or (row.state in THERE and row.proof_due_at is not None) for row in rows)


def _set(tx: Tx, sop_instance_uid: str, destination_name: str, to: DeliveryState, **values: Any) -> int | None:
    attempts: int | None = tx.execute(
        update(delivery)
        .where(
            delivery.c.sop_instance_uid == sop_instance_uid,
            delivery.c.destination == destination_name,
            delivery.c.state.in_([s for s in WAITING if to in TRANSITIONS[s]]),
        )
        .values(state=to, **values)
        .returning(delivery.c.attempts)
    ).scalar_one_or_none()
    return attempts


# Made once: a sender asks it at each wake-up, and it costs more to put together than to answer.
_TO: BindParameter[str] = bindparam("to_destination", type_=String)
_NOW: BindParameter[float] = bindparam("now", type_=Float)
_ME, _MINE = built_object.alias("me"), delivery.alias("mine")
_POINTED_AT = or_(*(and_(_ME.c.kind == one, built_object.c.kind == other) for one, other in POINTS_AT.items()))
_HELD_BACK = _POINTED_AT & _absent(_TO) & (delivery.c.state.not_in(WAITING) | (delivery.c.due_at > _NOW))
_DUE = (
    select(_MINE.c.attempts, _MINE.c.first_try_at, _MINE.c.reason, _MINE.c.alike, _ME, study.c.study_key)
    .join(_ME, _ME.c.sop_instance_uid == _MINE.c.sop_instance_uid)
    .join(study, study.c.study_instance_uid == _ME.c.study_instance_uid)
    .where(
        _MINE.c.destination == _TO,
        _MINE.c.state.in_(WAITING),
        _MINE.c.due_at <= _NOW,
        study.c.held.is_(False),
        ~_pairs(_ME.c.findings_id).where(_HELD_BACK).exists(),
    )
    .order_by(study.c.priority, _ME.c.findings_id, _ME.c.send_order)
    .limit(bindparam("at_most", type_=Integer))
)
