"""Results that a person withdrew: they are never sent again, never a prior, and no later report says that it follows them.

A withdrawal covers every result of a study up to then, so that no older one takes the place of the rejected in a viewer. The
rejection note is built by the reporter from what stands here, and is an object like any other: queued, sent, stored, proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, insert, or_, select, update

from egfr_dls.delivery import NOT_PROVEN, THERE, TRANSITIONS, DeliveryState
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import built_object, delivery, findings, withdrawal

NOTE = "rejection"  # of egfr_dls.uids.OBJECT_KINDS


class RejectedFor(StrEnum):
    """What the note's title says (PS3.16 CID 7010): for quality, or for the patient's safety."""

    QUALITY = "quality"
    SAFETY = "safety"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What was withdrawn: the findings ``through_findings_id`` of a study and all before them. ``at``: UTC seconds."""

    id: int
    study_instance_uid: str
    through_findings_id: int
    title: RejectedFor
    reason: str
    withdrawn_by: str
    at: float
    number: int  # which withdrawal of the study it is, from 1


@dataclass(frozen=True, slots=True)
class SentObject:
    """A withdrawn object that a destination has, or may have; its bytes lie in the object store under ``sha256``."""

    sop_instance_uid: str
    sha256: str


def covers(study_instance_uid: Any, findings_id: Any) -> ColumnElement[bool]:
    """Whether these findings of the study were withdrawn; both are columns or values."""
    rows = select(withdrawal.c.id).where(
        withdrawal.c.study_instance_uid == study_instance_uid, withdrawal.c.through_findings_id >= findings_id
    )
    return rows.exists()


def by_id(tx: Tx, withdrawal_id: int) -> Withdrawal:
    """Return one withdrawal."""
    return _read(tx.execute(_numbered().where(withdrawal.c.id == withdrawal_id)).one())


def of_findings(tx: Tx, study_instance_uid: str, findings_id: int) -> Withdrawal | None:
    """Return the withdrawal that covers these findings, the first if several do; None where they stand."""
    covering = _numbered().where(
        withdrawal.c.study_instance_uid == study_instance_uid, withdrawal.c.through_findings_id >= findings_id
    )
    row = tx.execute(covering.order_by(withdrawal.c.id).limit(1)).one_or_none()
    return None if row is None else _read(row)


def is_withdrawn(tx: Tx, sop_instance_uid: str) -> bool:
    """Whether an object belongs to a withdrawn result; a note never does."""
    rows = select(built_object.c.sop_instance_uid).where(
        built_object.c.sop_instance_uid == sop_instance_uid, _is_covered()
    )
    return tx.execute(rows).first() is not None


def withdraw(
    tx: Tx, study_instance_uid: str, through_findings_id: int, title: RejectedFor, reason: str, by: str, now: float
) -> Withdrawal:
    """Enter a withdrawal; what waits of its results is cancelled, and no proof of them is owed any more."""
    added = tx.execute(
        insert(withdrawal)
        .values(
            study_instance_uid=study_instance_uid,
            through_findings_id=through_findings_id,
            title=title,
            reason=reason,
            withdrawn_by=by,
            at=now,
        )
        .returning(withdrawal.c.id)
    )
    made = by_id(tx, int(added.scalar_one()))
    covered = select(built_object.c.sop_instance_uid).where(
        built_object.c.study_instance_uid == study_instance_uid, _is_covered()
    )
    ends = [s for s in DeliveryState if DeliveryState.WITHDRAWN in TRANSITIONS[s] and s not in THERE]
    tx.execute(
        update(delivery)
        .where(delivery.c.sop_instance_uid.in_(covered), delivery.c.state.in_(ends))
        .values(state=DeliveryState.WITHDRAWN, reason="")
    )
    tx.execute(
        update(delivery)
        .where(delivery.c.sop_instance_uid.in_(covered), delivery.c.state == DeliveryState.STORED)
        .values(proof_due_at=None, reason=case((delivery.c.reason == NOT_PROVEN, ""), else_=delivery.c.reason))
    )
    return made


def sent(tx: Tx, made: Withdrawal) -> Mapping[str, tuple[SentObject, ...]]:
    """Return for each destination what of a withdrawal it has or may have: stored there, or a request once left.

    What an earlier note names already is left out.
    """
    rows = tx.execute(
        select(delivery.c.destination, built_object.c.sop_instance_uid, built_object.c.sha256)
        .join(built_object, built_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(
            built_object.c.study_instance_uid == made.study_instance_uid,
            built_object.c.kind != NOTE,
            built_object.c.findings_id <= made.through_findings_id,
            built_object.c.findings_id > _covered_before(tx, made),
            or_(
                delivery.c.state.in_(THERE),
                and_(delivery.c.state == DeliveryState.WITHDRAWN, delivery.c.attempts > 0),
            ),
        )
        .order_by(delivery.c.destination, built_object.c.findings_id.desc(), built_object.c.kind != "report",
                  built_object.c.send_order, built_object.c.sop_instance_uid)
    )  # fmt: skip
    found: dict[str, list[SentObject]] = {}
    for row in rows:
        found.setdefault(row.destination, []).append(SentObject(row.sop_instance_uid, row.sha256))
    return {name: tuple(objects) for name, objects in found.items()}


def standing(tx: Tx) -> dict[str, float]:
    """Return the studies whose newest result is withdrawn, and since when, UTC seconds."""
    newest_result = (
        select(func.max(findings.c.id))
        .where(findings.c.study_instance_uid == withdrawal.c.study_instance_uid, findings.c.notice.is_(False))
        .scalar_subquery()
    )
    rows = tx.execute(
        select(withdrawal.c.study_instance_uid, func.min(withdrawal.c.at))
        .where(withdrawal.c.through_findings_id >= newest_result)
        .group_by(withdrawal.c.study_instance_uid)
    )
    return {row[0]: row[1] for row in rows}


def _covered_before(tx: Tx, made: Withdrawal) -> int:
    """Return through which findings the withdrawals before this one went; 0: there was none."""
    earlier = select(func.max(withdrawal.c.through_findings_id)).where(
        withdrawal.c.study_instance_uid == made.study_instance_uid, withdrawal.c.id < made.id
    )
    return tx.scalar(earlier) or 0


def _is_covered() -> ColumnElement[bool]:
    return and_(built_object.c.kind != NOTE, covers(built_object.c.study_instance_uid, built_object.c.findings_id))


def _numbered() -> Select[Any]:
    same = withdrawal.alias("same")
    number = (
        select(func.count())
        .select_from(same)
        .where(same.c.study_instance_uid == withdrawal.c.study_instance_uid, same.c.id <= withdrawal.c.id)
        .scalar_subquery()
    )
    return select(withdrawal, number.label("number"))


def _read(row: Any) -> Withdrawal:
    return Withdrawal(
        row.id, row.study_instance_uid, row.through_findings_id, RejectedFor(row.title), row.reason, row.withdrawn_by,
        row.at, row.number,
    )  # fmt: skip
