"""Retrievals: what is asked of the sources for a study, once for each of them, and which series came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, Select, exists, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger import withdrawals
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import built_object, fetched_report, fetched_series, retrieval, study
from egfr_dls.study import StudyState

ATTEMPTS = 5
BACK_OFF_SECONDS = 60.0  # after the first attempt; four times as long after each further one


class RetrievalState(StrEnum):
    """How the asking of one source for one study stands; it ends as DONE or FAILED and is never taken up again."""

    DUE = "due"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DueRetrieval:
    """A study that a source is to be asked about; ``attempts`` counts this one."""

    study_instance_uid: str
    study_key: str
    source: str
    attempts: int


@dataclass(frozen=True, slots=True)
class FetchedSeries:
    """How many instances of a series a source gave."""

    series_instance_uid: str
    modality: str
    source: str
    instances: int


def ask(tx: Tx, study_instance_uid: str, sources: Sequence[tuple[str, float]], now: float) -> None:
    """Have sources asked, each given by its name and for how long the study waits for it, seconds.

    A study that was asked about before is not asked about again.
    """
    waits_until = now
    for position, (name, patience_seconds) in enumerate(sources):
        waits_until += patience_seconds
        tx.execute(
            upsert(retrieval)
            .values(
                study_instance_uid=study_instance_uid,
                source=name,
                position=position,
                state=RetrievalState.DUE,
                waits_until=waits_until,
                due_at=now,
            )
            .on_conflict_do_nothing()
        )


def waits_until(tx: Tx, study_instance_uid: str) -> float | None:
    """Return until when a study waits for its sources, UTC seconds: 0 when it waits no longer, None when none was asked."""
    asked, first_round = tx.execute(
        select(
            func.count(),
            func.max(retrieval.c.waits_until).filter(
                retrieval.c.state == RetrievalState.DUE,
                or_(retrieval.c.attempts == 0, retrieval.c.holder.is_not(None)),
            ),
        ).where(retrieval.c.study_instance_uid == study_instance_uid)
    ).one()
    return (first_round or 0.0) if asked else None


def is_due(tx: Tx, now: float) -> bool:
    """Whether there may be something to claim: a look that takes no write lock."""
    return tx.execute(_due(now)).first() is not None


def claim(tx: Tx, holder: str, now: float, lease_seconds: float) -> DueRetrieval | None:
    """Take what is due first, of a study that still receives; one source of a study at a time, in their order."""
    row = tx.execute(_due(now)).one_or_none()
    if row is None:
        return None
    due = DueRetrieval(row.study_instance_uid, row.study_key, row.source, row.attempts + 1)
    _change(tx, due, holder=holder, lease_until=now + lease_seconds, attempts=due.attempts)
    return due


def give_back(tx: Tx, due: DueRetrieval) -> None:
    """Have it claimed again as if this attempt had not been: we stop."""
    _change(tx, due, attempts=due.attempts - 1, **_NO_LEASE)


def conclude(tx: Tx, due: DueRetrieval, fetched: Iterable[FetchedSeries], now: float) -> None:
    """Note what a source gave; it is not asked again."""
    _note(tx, due, fetched, now)
    _change(tx, due, state=RetrievalState.DONE, reason="", **_NO_LEASE)


def put_off(
    tx: Tx, due: DueRetrieval, reason: str, fetched: Iterable[FetchedSeries], now: float, *, again: bool
) -> None:
    """Note why a source did not give everything, and have it asked again later unless that would be no use."""
    _note(tx, due, fetched, now)
    if again and due.attempts < ATTEMPTS:
        due_at = now + BACK_OFF_SECONDS * 4 ** (due.attempts - 1)
        _change(tx, due, due_at=due_at, reason=reason, **_NO_LEASE)
    else:
        _change(tx, due, state=RetrievalState.FAILED, reason=reason, **_NO_LEASE)


def free(tx: Tx, holder: str) -> None:
    """Give back what a process of this name held when it died."""
    tx.execute(update(retrieval).where(retrieval.c.holder == holder).values(**_NO_LEASE))


def fetched(tx: Tx, study_instance_uid: str) -> list[FetchedSeries]:
    """Return the series of a study that were fetched, in a fixed order."""
    rows = tx.execute(
        select(fetched_series)
        .where(fetched_series.c.study_instance_uid == study_instance_uid)
        .order_by(fetched_series.c.modality, fetched_series.c.series_instance_uid, fetched_series.c.source)
    )
    return [FetchedSeries(row.series_instance_uid, row.modality, row.source, row.instances) for row in rows]


def of_study(tx: Tx, study_instance_uid: str) -> list[Row[Any]]:
    """Return what was asked of each source for a study, in their order."""
    query = select(retrieval).where(retrieval.c.study_instance_uid == study_instance_uid).order_by(retrieval.c.position)
    return list(tx.execute(query).all())


def keep_reports(tx: Tx, due: DueRetrieval, reports: Mapping[str, str], *, came: bool) -> None:
    """Note what is kept of the patient's earlier reports that a source listed.

    Parameters
    ----------
    reports
        SOP Instance UID, or what stands for it where it is not known, -> digest in the object store
    came
        whether they are reports, which also take the place of a note why one did not come; false: such notes
    """
    for uid, sha256 in reports.items():
        row = upsert(fetched_report).values(
            study_instance_uid=due.study_instance_uid, sop_instance_uid=uid, source=due.source, sha256=sha256
        )
        replaced = row.on_conflict_do_update(
            index_elements=["study_instance_uid", "sop_instance_uid"], set_={"source": due.source, "sha256": sha256}
        )
        tx.execute(replaced if came else row.on_conflict_do_nothing())


def reports(tx: Tx, study_instance_uid: str) -> list[tuple[str, str]]:
    """Return source and digest of what is kept of the earlier reports that were listed for a study, in a fixed order."""
    rows = tx.execute(
        select(fetched_report.c.source, fetched_report.c.sha256)
        .where(fetched_report.c.study_instance_uid == study_instance_uid, ~_WITHDRAWN.exists())
        .order_by(fetched_report.c.sop_instance_uid)
    )
    return [(row.source, row.sha256) for row in rows]


# Of a fetched report: one of ours that was withdrawn, wherever it came back from. It is none.
_WITHDRAWN = select(built_object.c.sop_instance_uid).where(
    built_object.c.sop_instance_uid == fetched_report.c.sop_instance_uid,
    withdrawals.covers(built_object.c.study_instance_uid, built_object.c.findings_id),
)
_NO_LEASE: dict[str, object] = {"holder": None, "lease_until": 0.0}


def _due(now: float) -> Select[Any]:
    other = retrieval.alias()
    busy = exists().where(
        other.c.study_instance_uid == retrieval.c.study_instance_uid,
        other.c.holder.is_not(None),
        other.c.lease_until > now,
    )
    return (
        select(retrieval, study.c.study_key)
        .join(study, study.c.study_instance_uid == retrieval.c.study_instance_uid)
        .where(
            retrieval.c.state == RetrievalState.DUE,
            retrieval.c.due_at <= now,
            study.c.state == StudyState.RECEIVING,
            study.c.held.is_(False),
            ~busy,
        )
        .order_by(retrieval.c.due_at, retrieval.c.position)
        .limit(1)
    )


def _change(tx: Tx, due: DueRetrieval, **values: object) -> None:
    tx.execute(
        update(retrieval)
        .where(retrieval.c.study_instance_uid == due.study_instance_uid, retrieval.c.source == due.source)
        .values(**values)
    )


def _note(tx: Tx, due: DueRetrieval, series: Iterable[FetchedSeries], now: float) -> None:
    for one in series:
        row = upsert(fetched_series).values(
            study_instance_uid=due.study_instance_uid,
            series_instance_uid=one.series_instance_uid,
            source=one.source,
            modality=one.modality,
            instances=one.instances,
            fetched_at=now,
        )
        tx.execute(
            row.on_conflict_do_update(
                index_elements=["study_instance_uid", "series_instance_uid", "source"],
                set_={"instances": fetched_series.c.instances + row.excluded.instances},
            )
        )
