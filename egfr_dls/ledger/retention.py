"""Retention: which studies' instances could go, and what goes; the study, its findings, objects and audit trail stay."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update

from egfr_dls.ledger import deliveries, returns, studies
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.instances import AssociationState
from egfr_dls.ledger.jobs import JobState
from egfr_dls.ledger.schema import (
    association,
    association_study,
    built_object,
    delivery,
    instance,
    job,
    segment,
    series,
    skipped_record,
    study,
)
from egfr_dls.study import StudyState

ACTOR = "retention"  # in the audit trail
# A refused study ends as REFUSED where nothing reports it (`[reporting] refusals = false`).
ENDED = frozenset({StudyState.DELIVERED, StudyState.NOT_APPLICABLE, StudyState.REFUSED})


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What is decided from. ``changed_at``, UTC seconds: its state changed, or an instance came, whichever was later.

    ``open_jobs`` are neither done nor cancelled, ``open_deliveries`` wait for being sent or proven, or need a person.
    """

    study_instance_uid: str
    study_key: str
    state: StudyState
    held: bool
    changed_at: float
    open_jobs: int
    open_deliveries: int


def facts(tx: Tx, study_instance_uid: str) -> StudyFacts:
    """Return what is decided from, of a study."""
    row = tx.execute(select(study).where(study.c.study_instance_uid == study_instance_uid)).one()
    newest = select(func.max(instance.c.received_at)).where(instance.c.study_instance_uid == study_instance_uid)
    open_jobs = select(func.count()).where(
        job.c.study_instance_uid == study_instance_uid, job.c.state.not_in((JobState.DONE, JobState.CANCELLED))
    )
    open_deliveries = (
        select(func.count())
        .select_from(delivery)
        .join(built_object, built_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(built_object.c.study_instance_uid == study_instance_uid, ~deliveries.is_over())
    )
    return StudyFacts(
        study_instance_uid,
        row.study_key,
        StudyState(row.state),
        row.held,
        max(row.state_since, row.last_instance_at, tx.scalar(newest) or 0.0),
        tx.scalar(open_jobs) or 0,
        tx.scalar(open_deliveries) or 0,
    )


def unchanged_since(tx: Tx, before: float) -> list[StudyFacts]:
    """Return studies that hold instances and whose state has not changed since a time, longest first."""
    holds = select(instance.c.id).where(instance.c.study_instance_uid == study.c.study_instance_uid).exists()
    rows = tx.execute(
        select(study.c.study_instance_uid)
        .where(study.c.state.in_(ENDED), study.c.state_since <= before, study.c.last_instance_at <= before, holds)
        .order_by(study.c.state_since)
    )
    return [facts(tx, uid) for uid in rows.scalars().all()]


def release(tx: Tx, study_instance_uid: str, now: float) -> int:
    """Forget where a study's instances lie, so that their space can be given back; return how many there were."""
    returns.note_release(tx, study_instance_uid, now)
    gone = tx.execute(delete(instance).where(instance.c.study_instance_uid == study_instance_uid)).rowcount
    tx.execute(delete(series).where(series.c.study_instance_uid == study_instance_uid))
    _forget_associations(tx, study_instance_uid)
    tx.execute(update(study).where(study.c.study_instance_uid == study_instance_uid).values(conflict=False))
    studies.record_action(tx, ACTOR, "release_instances", study_instance_uid, f"{gone} instances", now)
    return gone


def empty_segments(tx: Tx, listeners: Collection[str]) -> list[str]:
    """Return the full segments of these listeners in which nothing lies: no instance that the ledger knows, nothing skipped."""
    used = select(instance.c.id).where(instance.c.segment == segment.c.name).exists()
    kept = select(skipped_record.c.offset).where(skipped_record.c.segment == segment.c.name).exists()
    names = tx.execute(select(segment.c.name).where(segment.c.sealed, ~used, ~kept).order_by(segment.c.name)).scalars()
    return [name for name in names if name.partition("/")[0] in listeners]


def forget_segment(tx: Tx, name: str) -> None:
    """Remove the row of a segment that the spool has released."""
    tx.execute(delete(segment).where(segment.c.name == name))


def _forget_associations(tx: Tx, study_instance_uid: str) -> None:
    """Remove what says which associations brought a study, and those that brought nothing else."""
    brought = select(association_study.c.association_id).where(
        association_study.c.study_instance_uid == study_instance_uid
    )
    names = list(tx.execute(brought).scalars())
    tx.execute(delete(association_study).where(association_study.c.study_instance_uid == study_instance_uid))
    others = (
        select(association_study.c.association_id)
        .where(association_study.c.association_id == association.c.association_id)
        .exists()
    )
    tx.execute(
        delete(association).where(
            association.c.association_id.in_(names), association.c.state != AssociationState.OPEN, ~others
        )
    )
