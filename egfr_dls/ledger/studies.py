"""Studies: their state, and the facts from which completeness is decided."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.errors import UsageError
from egfr_dls.ledger import retrievals, returns, transfers
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.returns import Came
from egfr_dls.ledger.schema import association, association_study, audit, instance, job, released_study, series, study
from egfr_dls.study import TRANSITIONS, Priority, StudyState


@dataclass(frozen=True, slots=True)
class SeriesSnapshot:
    """A series as completeness sees it."""

    modality: str
    frame_of_reference_uid: str


@dataclass(frozen=True, slots=True)
class StudySnapshot:
    """What completeness decides from. Times are UTC seconds.

    ``interrupted``: an association that brought input did not end in order, and of no series that it brought has input
    come since in one that did. ``released``: of a study whose result was left without its instances, what is here.
    ``fetching_until``: how long it waits for its sources; 0 when that is over, None when none was asked.
    ``open_last_record_at``: when something last came of any association that is open.
    """

    study_instance_uid: str
    series: tuple[SeriesSnapshot, ...]
    open_associations: int
    interrupted: bool
    first_seen_at: float
    last_instance_at: float
    released: Came | None = None
    fetching_until: float | None = None
    open_last_record_at: float = math.inf


def study_key(site_key: bytes, study_instance_uid: str) -> str:
    """Return the study's name in logs: first 16 hex digits of a keyed hash, useless without the site's key."""
    return hmac.new(site_key, study_instance_uid.encode(), hashlib.sha256).hexdigest()[:16]


def ensure(tx: Tx, study_instance_uid: str, site_key: bytes, now: float) -> None:
    """Enter a study that is not known yet."""
    tx.execute(
        upsert(study)
        .values(
            study_instance_uid=study_instance_uid,
            study_key=study_key(site_key, study_instance_uid),
            state=StudyState.RECEIVING,
            first_seen_at=now,
            last_instance_at=now,
            state_since=now,
        )
        .on_conflict_do_nothing()
    )


def received_input(tx: Tx, study_instance_uid: str, first: float, last: float) -> None:
    """Restart the quiet time; a study that had ended receives again (its next run is a revision).

    ``first`` and ``last``: when the instances came that can fill a role, UTC seconds.
    """
    tx.execute(
        update(study)
        .where(study.c.study_instance_uid == study_instance_uid)
        .values(last_instance_at=func.max(study.c.last_instance_at, last))
    )
    reopened = [s for s in StudyState if StudyState.RECEIVING in TRANSITIONS[s]]
    tx.execute(
        update(study)
        .where(study.c.study_instance_uid == study_instance_uid, study.c.state.in_(reopened))
        .values(state=StudyState.RECEIVING, state_since=first, first_seen_at=first)
    )


def flag_conflict(tx: Tx, study_instance_uid: str) -> None:
    """Mark a study in which one SOP Instance UID came with two contents."""
    tx.execute(update(study).where(study.c.study_instance_uid == study_instance_uid).values(conflict=True))


def move(
    tx: Tx,
    study_instance_uid: str,
    to: StudyState,
    now: float,
    *,
    refusal_code: str | None = None,
    failure: str | None = None,
) -> bool:
    """Move a study to a state if the transition table allows it from where it stands; return whether it moved.

    A refusal that was delivered keeps its code.
    """
    allowed = [s for s in StudyState if to in TRANSITIONS[s]]
    code = func.coalesce(refusal_code, study.c.refusal_code) if to is StudyState.DELIVERED else refusal_code
    moved = tx.execute(
        update(study)
        .where(study.c.study_instance_uid == study_instance_uid, study.c.state.in_(allowed))
        .values(state=to, state_since=now, refusal_code=code, failure=failure)
    )
    return moved.rowcount == 1


def state(tx: Tx, study_instance_uid: str) -> StudyState:
    """Return where a study stands."""
    return StudyState(
        tx.execute(select(study.c.state).where(study.c.study_instance_uid == study_instance_uid)).scalar_one()
    )


def receiving(tx: Tx) -> list[StudySnapshot]:
    """Return every study that still receives and is not held."""
    rows = tx.execute(select(study).where(study.c.state == StudyState.RECEIVING, study.c.held.is_(False))).all()
    return [snapshot(tx, row.study_instance_uid) for row in rows]


def brought_by(tx: Tx, association_ids: Collection[str]) -> frozenset[str]:
    """Return the studies that receive and of which these associations have brought something."""
    if not association_ids:
        return frozenset()
    links = tx.execute(
        select(association_study)
        .join(study, study.c.study_instance_uid == association_study.c.study_instance_uid)
        .where(study.c.state == StudyState.RECEIVING)
    )
    return frozenset(link.study_instance_uid for link in links if link.association_id in association_ids)


def snapshot(tx: Tx, study_instance_uid: str) -> StudySnapshot:
    """Return what completeness decides from."""
    row = tx.execute(select(study).where(study.c.study_instance_uid == study_instance_uid)).one()
    links = tx.execute(
        select(association.c.state, association.c.last_record_at)
        .join(association_study, association_study.c.association_id == association.c.association_id)
        .where(association_study.c.study_instance_uid == study_instance_uid)
    ).all()
    open_at = [link.last_record_at for link in links if link.state == "open"]
    return StudySnapshot(
        study_instance_uid,
        tuple(_series(tx, study_instance_uid)),
        open_associations=len(open_at),
        interrupted=transfers.interrupted(tx, study_instance_uid),
        first_seen_at=row.first_seen_at,
        last_instance_at=row.last_instance_at,
        released=returns.came(tx, study_instance_uid),
        fetching_until=retrievals.waits_until(tx, study_instance_uid),
        open_last_record_at=max(open_at, default=math.inf),
    )


def released_at(tx: Tx, study_instance_uid: str) -> float | None:
    """Return when a study's instances were given up by retention, UTC seconds; None where they are here."""
    query = select(released_study.c.released_at).where(released_study.c.study_instance_uid == study_instance_uid)
    return tx.scalar(query)


def find(tx: Tx, name: str) -> Row[Any]:
    """Return the study row that an operator names by ``study_key`` or StudyInstanceUID.

    Raises
    ------
    UsageError
        no such study
    """
    row = tx.execute(
        select(study).where(or_(study.c.study_key == name, study.c.study_instance_uid == name))
    ).one_or_none()
    if row is None:
        raise UsageError(f"no study {name} in the ledger; `egfr-dls studies list` shows those there are")
    return row


def listed(tx: Tx, wanted: StudyState | None = None) -> list[Row[Any]]:
    """Return the studies, newest first, with their instance counts."""
    query = (
        select(study, func.count(instance.c.id).label("instances"), released_study.c.released_at)
        .outerjoin(instance, instance.c.study_instance_uid == study.c.study_instance_uid)
        .outerjoin(released_study, released_study.c.study_instance_uid == study.c.study_instance_uid)
        .group_by(study.c.study_instance_uid)
        .order_by(study.c.first_seen_at.desc(), study.c.study_instance_uid)
    )
    if wanted is not None:
        query = query.where(study.c.state == wanted)
    return list(tx.execute(query).all())


def series_of(tx: Tx, study_instance_uid: str) -> list[Row[Any]]:
    """Return a study's series with their instance counts."""
    return list(
        tx.execute(
            select(series, func.count(instance.c.id).label("instances"))
            .outerjoin(
                instance,
                (instance.c.series_instance_uid == series.c.series_instance_uid)
                & (instance.c.study_instance_uid == series.c.study_instance_uid),
            )
            .where(series.c.study_instance_uid == study_instance_uid)
            .group_by(series.c.series_instance_uid)
            .order_by(series.c.modality, series.c.series_instance_uid)
        ).all()
    )


def jobs_of(tx: Tx, study_instance_uid: str) -> list[Row[Any]]:
    """Return a study's jobs in the order they were made."""
    return list(tx.execute(select(job).where(job.c.study_instance_uid == study_instance_uid).order_by(job.c.id)).all())


def hold(tx: Tx, study_instance_uid: str, *, held: bool) -> None:
    """Stop or resume a study's jobs and deliveries."""
    tx.execute(update(study).where(study.c.study_instance_uid == study_instance_uid).values(held=held))


def set_priority(tx: Tx, study_instance_uid: str, priority: Priority) -> None:
    """Say when a study's jobs and deliveries have their turn."""
    tx.execute(update(study).where(study.c.study_instance_uid == study_instance_uid).values(priority=priority))


def record_action(tx: Tx, actor: str, action: str, study_instance_uid: str, detail: str, now: float) -> None:
    """Append to the audit trail what an operator did."""
    tx.execute(
        insert(audit).values(at=now, actor=actor, action=action, study_instance_uid=study_instance_uid, detail=detail)
    )


def _series(tx: Tx, study_instance_uid: str) -> list[SeriesSnapshot]:
    rows = tx.execute(
        select(series.c.modality, series.c.frame_of_reference_uid)
        .where(series.c.study_instance_uid == study_instance_uid)
        .order_by(series.c.modality, series.c.series_instance_uid)
    )
    return [SeriesSnapshot(row.modality, row.frame_of_reference_uid) for row in rows]
