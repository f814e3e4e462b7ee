"""The lease queue: claim with a fencing token, heartbeat, and finish in one transaction with the effect.

Attempts are counted at claim, so a job that kills its worker ends as dead and does not loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BindParameter, Float, Update, and_, bindparam, exists, literal, or_, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import job, study

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 15.0
MAX_ATTEMPTS = 3
BACK_OFF_FIRST_SECONDS = 30.0
BACK_OFF_CAP_SECONDS = 3600.0

Effect = Callable[[Tx], None]


class JobState(StrEnum):
    """Where a job stands; a study has states of its own (``egfr_dls.study``)."""

    READY = "ready"  # due, or waiting for its back-off
    LEASED = "leased"  # a worker's, until its lease runs out
    DONE = "done"
    DEAD = "dead"  # a defect, or its attempts are used up
    CANCELLED = "cancelled"  # the study changed before it took effect


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.READY: frozenset({JobState.LEASED, JobState.CANCELLED}),
    JobState.LEASED: frozenset(
        {JobState.LEASED, JobState.READY, JobState.DONE, JobState.DEAD}
    ),  # its lease may pass on
    # cancelled only by its own effect, in the same transaction; ready where what it led to counts no longer
    JobState.DONE: frozenset({JobState.CANCELLED, JobState.READY}),
    JobState.DEAD: frozenset({JobState.READY}),
    JobState.CANCELLED: frozenset({JobState.READY}),
}


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed unit of work; ``fence`` is the token without which nothing of it takes effect."""

    id: int
    kind: str
    study_instance_uid: str
    fence: int
    attempts: int
    created_at: float
    payload: dict[str, Any]


_UNFINISHED = (JobState.READY, JobState.LEASED)


class LeaseLostError(Exception):
    """Somebody else owns the job now; what was computed is discarded."""


def enqueue(tx: Tx, kind: str, dedup: str, study_instance_uid: str, payload: dict[str, Any], now: float) -> bool:
    """Add a job unless one with this dedup key was ever added; return whether it was new."""
    row = {
        "kind": kind,
        "dedup": dedup,
        "study_instance_uid": study_instance_uid,
        "state": JobState.READY,
        "run_at": now,
        "created_at": now,
        "payload": json.dumps(payload, sort_keys=True),
    }
    added = tx.execute(sqlite_insert(job).values(row).on_conflict_do_nothing(index_elements=["dedup"]))
    return added.rowcount == 1


def anything_due(tx: Tx, kind: str, now: float) -> bool:
    """Whether a job of this kind can be claimed, or one of any kind swept: a look without the write lock."""
    return tx.execute(_LOOK, {"of_kind": kind, "now": now}).first() is not None


def claim(tx: Tx, kind: str, worker: str, now: float) -> Job | None:
    """Lease the job of this kind that is due, or whose lease ran out: the most urgent study's, of several the longest due."""
    leased = {"of_kind": kind, "now": now, "claimant": worker, "until": now + LEASE_SECONDS}
    row = tx.execute(_CLAIM, leased).one_or_none()
    if row is None:
        return None
    return Job(
        row.id, row.kind, row.study_instance_uid, row.fence, row.attempts, row.created_at, json.loads(row.payload)
    )


def heartbeat(tx: Tx, claimed: Job, now: float) -> None:
    """Extend the lease, or raise LeaseLostError."""
    _owned(tx, claimed, JobState.LEASED, lease_until=now + LEASE_SECONDS)


def finish(tx: Tx, claimed: Job, effect: Effect) -> None:
    """Mark the job done and apply its effect in the same transaction; raise LeaseLostError (and roll back) if not ours."""
    _owned(tx, claimed, JobState.DONE, lease_until=None)
    effect(tx)


def postpone(tx: Tx, claimed: Job, error_class: str, now: float) -> bool:
    """Give a failed job back with back-off; return False when its attempts are used up and it is dead."""
    if claimed.attempts >= MAX_ATTEMPTS:
        bury(tx, claimed, error_class)
        return False
    delay = min(BACK_OFF_FIRST_SECONDS * 2 ** (claimed.attempts - 1), BACK_OFF_CAP_SECONDS)
    _owned(tx, claimed, JobState.READY, run_at=now + delay, error_class=error_class, lease_until=None)
    return True


def cancel(tx: Tx, claimed: Job) -> None:
    """Take back, inside its effect, a job whose study changed while it was worked on; it may be queued again."""
    tx.execute(_becomes(JobState.CANCELLED).where(job.c.id == claimed.id))


def withdraw(tx: Tx, kind: str, study_instance_uid: str, but: str) -> None:
    """Cancel a study's jobs of a kind that nobody has begun, except the one with the dedup key ``but``."""
    tx.execute(
        _becomes(JobState.CANCELLED).where(
            job.c.study_instance_uid == study_instance_uid,
            job.c.kind == kind,
            job.c.state == JobState.READY,
            job.c.dedup != but,
        )
    )


def reopen(tx: Tx, dedup: str, now: float) -> None:
    """Make a job that was cancelled or done ready again, as one that is made now."""
    tx.execute(
        _becomes(JobState.READY)
        .where(job.c.dedup == dedup, job.c.state.in_((JobState.CANCELLED, JobState.DONE)))
        .values(attempts=0, run_at=now, created_at=now)
    )


def state(tx: Tx, dedup: str) -> JobState:
    """Return where the job with this dedup key stands."""
    return JobState(tx.execute(select(job.c.state).where(job.c.dedup == dedup)).scalar_one())


def anything_left(tx: Tx, study_instance_uid: str) -> bool:
    """Whether a study has a job that is ready or being worked on."""
    left = select(job.c.id).where(job.c.study_instance_uid == study_instance_uid, job.c.state.in_(_UNFINISHED))
    return tx.execute(left.limit(1)).first() is not None


def bury(tx: Tx, claimed: Job, error_class: str) -> None:
    """Mark the job dead; an operator revives it with ``studies retry``."""
    _owned(tx, claimed, JobState.DEAD, error_class=error_class, lease_until=None)


def release_worker(tx: Tx, worker: str) -> int:
    """Free what a dead process of this name held; its supervisor calls this before it starts the next one."""
    freed = tx.execute(
        update(job).where(job.c.worker == worker, job.c.state == JobState.LEASED).values(lease_until=0.0)
    )
    return freed.rowcount


def sweep(tx: Tx, now: float) -> list[str]:
    """Bury jobs whose lease ran out with their attempts used up; return the studies they belong to."""
    return list(tx.execute(_SWEEP, {"now": now}).scalars())


def revive(tx: Tx, study_instance_uid: str, now: float) -> list[str]:
    """Make a study's dead jobs ready again, with fresh attempts; return their kinds."""
    revived = tx.execute(
        _becomes(JobState.READY)
        .where(job.c.study_instance_uid == study_instance_uid, job.c.state == JobState.DEAD)
        .values(attempts=0, run_at=now, error_class=None)
        .returning(job.c.kind)
    )
    return list(revived.scalars())


def _becomes(to: JobState) -> Update:
    """Return the statement that moves every job which the table lets become ``to``; the caller says which of them."""
    return update(job).where(job.c.state.in_(_before(to))).values(state=to)


def _before(to: JobState) -> list[JobState]:
    return [state for state in JobState if to in TRANSITIONS[state]]


def _owned(tx: Tx, claimed: Job, to: JobState, **values: Any) -> None:
    """Move a job of ours, or raise LeaseLostError."""
    changed = tx.execute(
        _becomes(to)
        .where(job.c.id == claimed.id, job.c.fence == claimed.fence, job.c.state == JobState.LEASED)
        .values(**values)
    )
    if changed.rowcount != 1:
        raise LeaseLostError


# Made once: what each wake-up of a stage asks costs more to put together than to answer.
_NOW: BindParameter[float] = bindparam("now", type_=Float)
_LOST = and_(job.c.lease_until < _NOW, job.c.attempts >= MAX_ATTEMPTS)
_DUE = (
    select(job.c.id)
    .join(study, study.c.study_instance_uid == job.c.study_instance_uid)
    .where(
        job.c.kind == bindparam("of_kind"),
        study.c.held.is_(False),
        job.c.attempts < MAX_ATTEMPTS,
        or_(
            and_(job.c.state == JobState.READY, job.c.run_at <= _NOW),
            and_(job.c.state == JobState.LEASED, job.c.lease_until < _NOW),
        ),
    )
    .order_by(study.c.priority, job.c.run_at, job.c.id)
    .limit(1)
)
_SWEEP = _becomes(JobState.DEAD).where(_LOST).values(error_class="LEASE_LOST").returning(job.c.study_instance_uid)
_LOOK = select(literal(True)).where(or_(_DUE.exists(), exists().where(job.c.state.in_(_before(JobState.DEAD)), _LOST)))
_CLAIM = (
    _becomes(JobState.LEASED)
    .where(job.c.id == _DUE.scalar_subquery())
    .values(
        worker=bindparam("claimant"),
        lease_until=bindparam("until"),
        fence=job.c.fence + 1,
        attempts=job.c.attempts + 1,
    )
    .returning(job)
)
