"""Instances, series and associations: what the indexer writes behind the spool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger import studies
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import association, association_study, instance, own_object_returned, segment, series
from egfr_dls.study import ReceivedInstance, SpoolRef

# Modalities that can fill an input role. Everything else is kept, but starts nothing and restarts no timer.
INPUT_MODALITIES = frozenset({"PT", "CT", "MR", "SEG", "RTSTRUCT"})


class AssociationState(StrEnum):
    """How an association stands; ``aborted`` means that the sender may have had more to send."""

    OPEN = "open"
    RELEASED = "released"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class IndexedInstance:
    """An instance as the indexer saw it.

    ``sha256`` is over the data set as received, without file meta; ``own`` marks our own object come back.
    """

    entry: ReceivedInstance
    ref: SpoolRef
    sha256: str
    frame_of_reference_uid: str
    own: bool


def watermarks(tx: Tx) -> dict[str, int]:
    """Return how many bytes of each segment are indexed."""
    return {row.name: row.indexed_bytes for row in tx.execute(select(segment))}


def advance(tx: Tx, marks: dict[str, int]) -> None:
    """Move watermarks; in the same transaction as the rows they cover."""
    for name, indexed_bytes in marks.items():
        tx.execute(
            upsert(segment)
            .values(name=name, indexed_bytes=indexed_bytes)
            .on_conflict_do_update(index_elements=["name"], set_={"indexed_bytes": indexed_bytes})
        )


def add(tx: Tx, found: IndexedInstance, site_key: bytes, listener: str) -> None:
    """Enter one instance: same UID and digest is nothing new; same UID, other digest is kept, marked, and flags the study."""
    entry, received_at = found.entry, found.entry.received_at.timestamp()
    _touch_association(tx, entry, listener, received_at)
    if found.own:
        _count_own(tx, entry.sop_instance_uid, received_at)
        return
    known = tx.execute(
        select(instance.c.sha256).where(instance.c.sop_instance_uid == entry.sop_instance_uid)
    ).scalars().all()  # fmt: skip
    if found.sha256 in known:
        return
    studies.ensure(tx, entry.study_instance_uid, site_key, received_at)
    tx.execute(
        upsert(series)
        .values(
            series_instance_uid=entry.series_instance_uid,
            study_instance_uid=entry.study_instance_uid,
            modality=entry.modality,
            sop_class_uid=entry.sop_class_uid,
            frame_of_reference_uid=found.frame_of_reference_uid,
        )
        .on_conflict_do_nothing()
    )
    tx.execute(insert(instance).values(**_row(found, received_at), conflict=bool(known)))
    if known:
        studies.flag_conflict(tx, entry.study_instance_uid)
    elif entry.modality in INPUT_MODALITIES:
        studies.received_input(tx, entry.study_instance_uid, received_at)


def release_association(tx: Tx, association_id: str, listener: str, at: float) -> None:
    """Record that an association ended in order, also when the indexer meets its release before its last instances."""
    tx.execute(
        upsert(association)
        .values(
            association_id=association_id,
            listener=listener,
            calling_ae_title="",
            state=AssociationState.RELEASED,
            last_record_at=at,
        )
        .on_conflict_do_update(index_elements=["association_id"], set_={"state": AssociationState.RELEASED})
    )


def abort_association(tx: Tx, association_id: str) -> None:
    """Record that an association is gone without a release; one that brought no instance has no row and needs none."""
    tx.execute(
        update(association)
        .where(association.c.association_id == association_id, association.c.state == AssociationState.OPEN)
        .values(state=AssociationState.ABORTED)
    )


def abort_open_associations(tx: Tx) -> int:
    """Mark what a listener that died left open; called by the only listener of this spool before it accepts again."""
    ended = tx.execute(
        update(association).where(association.c.state == AssociationState.OPEN).values(state=AssociationState.ABORTED)
    )
    return ended.rowcount


def locations(tx: Tx, study_instance_uid: str) -> dict[str, SpoolRef]:
    """Return where a study's instances lie, by SOP Instance UID in its order: the first content of each."""
    rows = tx.execute(
        select(instance.c.sop_instance_uid, instance.c.segment, instance.c.offset, instance.c.length)
        .where(instance.c.study_instance_uid == study_instance_uid, instance.c.conflict.is_(False))
        .order_by(instance.c.sop_instance_uid)
    )
    return {row.sop_instance_uid: SpoolRef(row.segment, row.offset, row.length) for row in rows}


def location(tx: Tx, study_instance_uid: str, sop_instance_uids: Sequence[str]) -> dict[str, SpoolRef]:
    """Return where these instances of a study lie."""
    wanted = set(sop_instance_uids)
    rows = tx.execute(
        select(instance.c.sop_instance_uid, instance.c.segment, instance.c.offset, instance.c.length).where(
            instance.c.study_instance_uid == study_instance_uid, instance.c.conflict.is_(False)
        )
    )
    return {r.sop_instance_uid: SpoolRef(r.segment, r.offset, r.length) for r in rows if r.sop_instance_uid in wanted}


def content_digest_rows(tx: Tx, study_instance_uid: str) -> list[tuple[str, str]]:
    """Return (SOP Instance UID, digest) of the instances that can fill a role, sorted: what a job's dedup key is made of."""
    rows = tx.execute(
        select(instance.c.sop_instance_uid, instance.c.sha256)
        .join(series, (series.c.series_instance_uid == instance.c.series_instance_uid)
              & (series.c.study_instance_uid == instance.c.study_instance_uid))
        .where(instance.c.study_instance_uid == study_instance_uid, instance.c.conflict.is_(False),
               series.c.modality.in_(INPUT_MODALITIES))
        .order_by(instance.c.sop_instance_uid)
    )  # fmt: skip
    return [(row.sop_instance_uid, row.sha256) for row in rows]


def all_sop_instance_uids(tx: Tx) -> list[str]:
    """Return the SOP Instance UID of every durable instance that the ledger knows."""
    return list(
        tx.execute(select(instance.c.sop_instance_uid).order_by(instance.c.sop_instance_uid).distinct()).scalars()
    )


def count(tx: Tx, study_instance_uid: str) -> int:
    """Return how many instances of a study are kept."""
    return tx.scalar(select(func.count()).where(instance.c.study_instance_uid == study_instance_uid)) or 0


def _touch_association(tx: Tx, entry: ReceivedInstance, listener: str, at: float) -> None:
    tx.execute(
        upsert(association)
        .values(
            association_id=entry.association_id,
            listener=listener,
            calling_ae_title=entry.calling_ae_title,
            state=AssociationState.OPEN,
            last_record_at=at,
        )
        .on_conflict_do_update(
            index_elements=["association_id"],
            set_={"last_record_at": at, "calling_ae_title": entry.calling_ae_title},
        )
    )
    tx.execute(
        upsert(association_study)
        .values(
            association_id=entry.association_id, study_instance_uid=entry.study_instance_uid, last_record_at=at
        )
        .on_conflict_do_update(
            index_elements=["association_id", "study_instance_uid"], set_={"last_record_at": at}
        )
    )  # fmt: skip


def _count_own(tx: Tx, sop_instance_uid: str, at: float) -> None:
    tx.execute(
        upsert(own_object_returned)
        .values(sop_instance_uid=sop_instance_uid, times=1, last_at=at)
        .on_conflict_do_update(
            index_elements=["sop_instance_uid"], set_={"times": own_object_returned.c.times + 1, "last_at": at}
        )
    )


def _row(found: IndexedInstance, received_at: float) -> dict[str, object]:
    entry = found.entry
    return {
        "sop_instance_uid": entry.sop_instance_uid,
        "sha256": found.sha256,
        "sop_class_uid": entry.sop_class_uid,
        "series_instance_uid": entry.series_instance_uid,
        "study_instance_uid": entry.study_instance_uid,
        "transfer_syntax_uid": entry.transfer_syntax_uid,
        "segment": found.ref.segment,
        "offset": found.ref.offset,
        "length": found.ref.length,
        "association_id": entry.association_id,
        "calling_ae_title": entry.calling_ae_title,
        "called_ae_title": entry.called_ae_title,
        "peer_address": entry.peer_address,
        "received_at": received_at,
    }
