"""Findings and built objects: what inference concluded and what reporting made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger import withdrawals
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import built_object, delivery, findings
from egfr_dls.uids import OBJECT_KINDS

_SEND_ORDER = {kind: order for order, kind in enumerate(OBJECT_KINDS)}


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """A finished object; its bytes lie in the object store under ``sha256``. ``series_at`` is UTC seconds."""

    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    kind: str
    sha256: str
    series_at: float


def current(tx: Tx, study_instance_uid: str, biomarker: str) -> Row[Any] | None:
    """Return the newest result of a study, or None; a notice is none."""
    rows = _revisions(study_instance_uid, biomarker).where(findings.c.notice.is_(False))
    return tx.execute(rows.limit(1)).one_or_none()


def last(tx: Tx, study_instance_uid: str, biomarker: str) -> Row[Any] | None:
    """Return the newest findings of a study, be they a result or a notice; or None."""
    return tx.execute(_revisions(study_instance_uid, biomarker).limit(1)).one_or_none()


def newest(tx: Tx, study_instance_uid: str) -> Row[Any] | None:
    """Return the result that was concluded last, of whatever biomarker, or None."""
    query = select(findings).where(findings.c.study_instance_uid == study_instance_uid, findings.c.notice.is_(False))
    return tx.execute(query.order_by(findings.c.id.desc()).limit(1)).one_or_none()


def notice(tx: Tx, study_instance_uid: str) -> Row[Any] | None:
    """Return what was told of a study beside its result, and since then: it says why that stands; or None."""
    query = select(findings).where(findings.c.study_instance_uid == study_instance_uid)
    row = tx.execute(query.order_by(findings.c.id.desc()).limit(1)).one_or_none()
    return row if row is not None and row.notice else None


def by_id(tx: Tx, findings_id: int) -> Row[Any]:
    """Return one findings row."""
    return tx.execute(select(findings).where(findings.c.id == findings_id)).one()


def add_findings(
    tx: Tx,
    study_instance_uid: str,
    biomarker: str,
    dedup: str,
    document: str,
    evidence: str,
    content_at: float,
    *,
    question: str | None = None,
    notice: bool = False,
) -> int | None:
    """Enter findings as the next revision and return their id; None when they are those of the last revision again.

    Parameters
    ----------
    question
        what they answer (``completion.question``)
    notice
        they are no result: the one before them stands
    """
    before = last(tx, study_instance_uid, biomarker)
    if before is not None and before.dedup == dedup:
        tx.execute(update(findings).where(findings.c.id == before.id).values(question=question))
        return None
    added = tx.execute(
        insert(findings)
        .values(
            study_instance_uid=study_instance_uid,
            biomarker=biomarker,
            dedup=dedup,
            revision=1 if before is None else before.revision + 1,
            document=document,
            evidence=evidence,
            content_at=content_at,
            question=question,
            notice=notice,
        )
        .returning(findings.c.id)
    )
    return int(added.scalar_one())


def _revisions(study_instance_uid: str, biomarker: str) -> Select[Any]:
    """Return the findings of a study, the newest first."""
    return (
        select(findings)
        .where(findings.c.study_instance_uid == study_instance_uid, findings.c.biomarker == biomarker)
        .order_by(findings.c.revision.desc())
    )


def add_objects(tx: Tx, findings_id: int, study_instance_uid: str, objects: list[BuiltObject]) -> None:
    """Enter built objects; those that are there already stay as they are."""
    for made in objects:
        tx.execute(
            upsert(built_object)
            .values(
                sop_instance_uid=made.sop_instance_uid,
                findings_id=findings_id,
                study_instance_uid=study_instance_uid,
                series_instance_uid=made.series_instance_uid,
                sop_class_uid=made.sop_class_uid,
                transfer_syntax_uid=made.transfer_syntax_uid,
                kind=made.kind,
                send_order=_SEND_ORDER[made.kind],
                sha256=made.sha256,
                series_at=made.series_at,
            )
            .on_conflict_do_nothing()
        )


def objects_of(tx: Tx, findings_id: int) -> list[Row[Any]]:
    """Return the objects of one findings row in their order of sending."""
    query = select(built_object).where(built_object.c.findings_id == findings_id).order_by(built_object.c.send_order)
    return list(tx.execute(query).all())


def predecessors(tx: Tx, study_instance_uid: str, biomarker: str, before_revision: int) -> list[Row[Any]]:
    """Return the reports of the newest earlier revision that has any, of each SOP class one, always in the same order.

    What was built and taken back again is none, where a destination has, or is to get, another. ``withdrawn`` says
    whether the revision was withdrawn.
    """
    is_owed = select(delivery).where(delivery.c.sop_instance_uid == built_object.c.sop_instance_uid).exists()
    rows = tx.execute(
        select(
            built_object,
            findings.c.revision,
            is_owed.label("is_owed"),
            withdrawals.covers(findings.c.study_instance_uid, findings.c.id).label("withdrawn"),
        )
        .join(findings, findings.c.id == built_object.c.findings_id)
        .where(
            findings.c.study_instance_uid == study_instance_uid,
            findings.c.biomarker == biomarker,
            findings.c.revision < before_revision,
            built_object.c.kind == "report",
        )
        .order_by(findings.c.revision.desc(), built_object.c.sop_class_uid.desc(), built_object.c.sop_instance_uid)
    ).all()
    newest = [row for row in rows if row.revision == rows[0].revision]
    by_class: dict[str, Row[Any]] = {}
    for row in [row for row in newest if row.is_owed] or newest:
        by_class.setdefault(row.sop_class_uid, row)
    return list(by_class.values())


def series_started_at(tx: Tx, series_instance_uid: str) -> float | None:
    """Return when the first object of one of our series was made, UTC seconds; its Series Date and Time for ever."""
    query = select(func.min(built_object.c.series_at)).where(built_object.c.series_instance_uid == series_instance_uid)
    started_at = tx.scalar(query)
    return None if started_at is None else float(started_at)
