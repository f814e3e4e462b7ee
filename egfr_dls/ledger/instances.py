"""Instances: where they lie, and how far the spool is indexed. What enters them is ``arrivals``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.schema import instance, segment, series, skipped_record
from egfr_dls.study import SpoolRef

REGION_MODALITIES = frozenset({"SEG", "RTSTRUCT"})
# Modalities that can fill an input role. Everything else is kept, but starts nothing and restarts no timer.
INPUT_MODALITIES = frozenset({"PT", "CT", "MR"}) | REGION_MODALITIES


@dataclass(frozen=True, slots=True)
class SeriesInputs:
    """The instances of a series that can fill a role, by the digests of their contents."""

    modality: str
    digests: tuple[str, ...]


class AssociationState(StrEnum):
    """How an association stands; ``aborted`` means that the sender may have had more to send."""

    OPEN = "open"
    RELEASED = "released"
    ABORTED = "aborted"


def watermarks(tx: Tx) -> dict[str, int]:
    """Return how many bytes of each segment are indexed."""
    return {row.name: row.indexed_bytes for row in tx.execute(select(segment))}


def sealed_segments(tx: Tx) -> frozenset[str]:
    """Return the segments that are noted as full and wholly indexed."""
    return frozenset(tx.execute(select(segment.c.name).where(segment.c.sealed)).scalars())


def advance(tx: Tx, marks: Mapping[str, int], sealed: Collection[str] = ()) -> None:
    """Move watermarks, in the same transaction as the rows they cover; nothing will follow those of ``sealed``."""
    row = upsert(segment)
    tx.execute(
        row.on_conflict_do_update(
            index_elements=["name"],
            set_={"indexed_bytes": row.excluded.indexed_bytes, "sealed": row.excluded.sealed},
        ),
        [{"name": name, "indexed_bytes": end, "sealed": name in sealed} for name, end in marks.items()],
    )


def skip(tx: Tx, ref: SpoolRef, error_class: str, now: float) -> None:
    """Note a record that cannot be indexed: from then on its segment is never given back. ``now``: UTC seconds."""
    values = {"length": ref.length, "error_class": error_class[:64], "skipped_at": now}
    tx.execute(
        upsert(skipped_record)
        .values(segment=ref.segment, offset=ref.offset, **values)
        .on_conflict_do_update(index_elements=["segment", "offset"], set_=values)
    )


def segments_of(tx: Tx, listener: str) -> frozenset[str]:
    """Return the segments of a listener in which instances lie."""
    names = tx.execute(select(instance.c.segment).distinct()).scalars()
    return frozenset(name for name in names if name.partition("/")[0] == listener)


def forget_segments(tx: Tx, names: Collection[str]) -> int:
    """Remove what lies in segments that are gone, and their watermarks; return how many instances that were."""
    gone = 0
    for name in names:
        gone += tx.execute(delete(instance).where(instance.c.segment == name)).rowcount
        tx.execute(delete(segment).where(segment.c.name == name))
    return gone


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
    rows = tx.execute(_inputs(study_instance_uid).order_by(instance.c.sop_instance_uid))
    return [(row.sop_instance_uid, row.digest) for row in rows]


def inputs_by_series(tx: Tx, study_instance_uid: str) -> dict[str, SeriesInputs]:
    """Return the same, by SeriesInstanceUID."""
    modality: dict[str, str] = {}
    digests: defaultdict[str, list[str]] = defaultdict(list)
    for row in tx.execute(_inputs(study_instance_uid).order_by(instance.c.sop_instance_uid)):
        modality[row.series_instance_uid] = row.modality
        digests[row.series_instance_uid].append(row.digest)
    return {uid: SeriesInputs(modality[uid], tuple(its)) for uid, its in digests.items()}


def held_elsewhere(tx: Tx, study_instance_uid: str) -> dict[str, list[str]]:
    """Return the images of a study whose SOP Instance UIDs another study had first: by that study, each in its order."""
    mine, other = _inputs(study_instance_uid).subquery(), instance.alias()
    rows = tx.execute(
        select(other.c.study_instance_uid, mine.c.sop_instance_uid)
        .distinct()
        .join(mine, (mine.c.sop_instance_uid == other.c.sop_instance_uid) & (other.c.id < mine.c.id))
        .where(other.c.study_instance_uid != study_instance_uid, mine.c.modality.not_in(REGION_MODALITIES))
        .order_by(other.c.study_instance_uid, mine.c.sop_instance_uid)
    )
    held: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        held[row.study_instance_uid].append(row.sop_instance_uid)
    return dict(held)


def _inputs(study_instance_uid: str) -> Select[Any]:
    return (
        select(
            instance.c.id,
            instance.c.sop_instance_uid,
            instance.c.digest,
            instance.c.series_instance_uid,
            series.c.modality,
        )
        .join(
            series,
            (series.c.series_instance_uid == instance.c.series_instance_uid)
            & (series.c.study_instance_uid == instance.c.study_instance_uid),
        )
        .where(
            instance.c.study_instance_uid == study_instance_uid,
            instance.c.conflict.is_(False),
            series.c.modality.in_(INPUT_MODALITIES),
        )
    )


def all_sop_instance_uids(tx: Tx) -> list[str]:
    """Return the SOP Instance UID of every durable instance that the ledger knows."""
    return list(
        tx.execute(select(instance.c.sop_instance_uid).order_by(instance.c.sop_instance_uid).distinct()).scalars()
    )


def count(tx: Tx, study_instance_uid: str) -> int:
    """Return how many instances of a study are kept."""
    return tx.scalar(select(func.count()).where(instance.c.study_instance_uid == study_instance_uid)) or 0
