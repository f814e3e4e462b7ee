"""What the indexer writes for a batch of records: instances, series, studies and associations, each statement once a batch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger import returns, studies
from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.instances import INPUT_MODALITIES, AssociationState
from egfr_dls.ledger.schema import association, association_study, built_object, instance, own_object_returned, series
from egfr_dls.spool.contract import AssociationEnded
from egfr_dls.study import ReceivedInstance, SpoolRef

_LOOK_UP = 500  # UIDs a statement; SQLite takes 32766 parameters


@dataclass(frozen=True, slots=True)
class IndexedInstance:
    """An instance as the indexer saw it.

    ``digest`` is that of the data set as received (``egfr_dls.content_digest``); ``own`` marks our own object come back.
    """

    entry: ReceivedInstance
    ref: SpoolRef
    digest: str
    own: bool

    @property
    def received_at(self) -> float:
        """UTC seconds."""
        return self.entry.received_at.timestamp()


@dataclass(frozen=True, slots=True)
class _Fresh:
    """What is not known yet.

    ``conflict``: another content of its study came first under its UID; ``clash``: one of any study did.
    """

    one: IndexedInstance
    conflict: bool
    clash: bool


def enter(tx: Tx, found: Sequence[IndexedInstance], site_key: bytes, listener: str) -> None:
    """Enter instances: same UID and digest is nothing new; same UID, other digest is kept and flags the study.

    In one study the first of such contents counts, the others are marked. Each bears the association that brought it last.
    """
    if not found:
        return
    _touch_associations(tx, found, listener)
    _count_own(tx, [one for one in found if one.own])
    theirs = [one for one in found if not one.own]
    new = _new(tx, theirs)
    if new:
        _enter_new(tx, new, site_key)
    if len(new) < len(theirs):
        _note_last_association(tx, theirs)


def _enter_new(tx: Tx, new: Sequence[_Fresh], site_key: bytes) -> None:
    by_study: defaultdict[str, list[_Fresh]] = defaultdict(list)
    for fresh in new:
        by_study[fresh.one.entry.study_instance_uid].append(fresh)
    for study, its in by_study.items():
        studies.ensure(tx, study, site_key, its[0].one.received_at)
    _enter_series(tx, [fresh.one.entry for fresh in new])
    tx.execute(insert(instance), [_row(fresh.one, conflict=fresh.conflict) for fresh in new])
    for study, its in by_study.items():
        _tell_study(tx, study, its)
    returns.note_return(tx, by_study)


def enter_ends(tx: Tx, ended: Iterable[AssociationEnded], listener: str) -> None:
    """Record how associations ended, also where the indexer meets the end before their last instances.

    One that was released stays so; one that is gone without a release is aborted.
    """
    for one in ended:
        state = AssociationState.RELEASED if one.released else AssociationState.ABORTED
        tx.execute(
            upsert(association)
            .values(
                association_id=one.association_id,
                listener=listener,
                calling_ae_title="",
                state=state,
                last_record_at=one.ended_at.timestamp(),
            )
            .on_conflict_do_update(
                index_elements=["association_id"],
                set_={"state": state},
                where=None if one.released else association.c.state == AssociationState.OPEN,
            )
        )


def abort_open_associations(tx: Tx, listener: str, before: float) -> int:
    """Mark what a listener that is dead left open, and return how many there were.

    ``before``, UTC seconds: its successor of the same name, which may be receiving already, began then.
    """
    ended = tx.execute(
        update(association)
        .where(
            association.c.listener == listener,
            association.c.state == AssociationState.OPEN,
            association.c.last_record_at < before,
        )
        .values(state=AssociationState.ABORTED)
    )
    return ended.rowcount


def ours_among(tx: Tx, sop_instance_uids: Iterable[str]) -> frozenset[str]:
    """Return which of these are our own objects by their UID."""
    query = select(built_object.c.sop_instance_uid)
    return frozenset(
        uid
        for some in _portions(sop_instance_uids)
        for uid in tx.execute(query.where(built_object.c.sop_instance_uid.in_(some))).scalars()
    )


def _new(tx: Tx, found: Sequence[IndexedInstance]) -> list[_Fresh]:
    known = _contents(tx, {one.entry.sop_instance_uid for one in found})
    new = []
    for one in found:
        there, study = known[one.entry.sop_instance_uid], one.entry.study_instance_uid
        if one.digest not in (digest for _, digest in there):
            new.append(_Fresh(one, conflict=any(of == study for of, _ in there), clash=bool(there)))
            there.add((study, one.digest))
    return new


def _contents(tx: Tx, sop_instance_uids: Iterable[str]) -> defaultdict[str, set[tuple[str, str]]]:
    """Return study and digest of every content that is known under these UIDs."""
    known: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    query = select(instance.c.sop_instance_uid, instance.c.study_instance_uid, instance.c.digest)
    for some in _portions(sop_instance_uids):
        for uid, study, digest in tx.execute(query.where(instance.c.sop_instance_uid.in_(some))):
            known[uid].add((study, digest))
    return known


def _note_last_association(tx: Tx, found: Sequence[IndexedInstance]) -> None:
    tx.execute(
        update(instance)
        .where(instance.c.sop_instance_uid == bindparam("uid"), instance.c.digest == bindparam("content"))
        .values(association_id=bindparam("association")),
        [
            {"uid": one.entry.sop_instance_uid, "content": one.digest, "association": one.entry.association_id}
            for one in found
        ],
    )


def _enter_series(tx: Tx, entries: Sequence[ReceivedInstance]) -> None:
    first: dict[tuple[str, str], ReceivedInstance] = {}
    for entry in entries:
        first.setdefault((entry.study_instance_uid, entry.series_instance_uid), entry)
    tx.execute(
        upsert(series).on_conflict_do_nothing(),
        [
            {
                "series_instance_uid": entry.series_instance_uid,
                "study_instance_uid": entry.study_instance_uid,
                "modality": entry.modality,
                "sop_class_uid": entry.sop_class_uid,
                "frame_of_reference_uid": entry.frame_of_reference_uid,
            }
            for entry in first.values()
        ],
    )


def _tell_study(tx: Tx, study_instance_uid: str, its: Sequence[_Fresh]) -> None:
    if any(fresh.clash for fresh in its):
        studies.flag_conflict(tx, study_instance_uid)
    counting = (fresh.one for fresh in its if not fresh.conflict)
    inputs = [one.received_at for one in counting if one.entry.modality in INPUT_MODALITIES]
    if inputs:
        studies.received_input(tx, study_instance_uid, inputs[0], max(inputs))


def _touch_associations(tx: Tx, found: Sequence[IndexedInstance], listener: str) -> None:
    last: dict[str, tuple[float, str]] = {}
    last_of_study: dict[tuple[str, str], float] = {}
    for one in found:
        entry, at = one.entry, one.received_at
        pair = (entry.association_id, entry.study_instance_uid)
        last[entry.association_id] = max(last.get(entry.association_id, (0.0, "")), (at, entry.calling_ae_title))
        last_of_study[pair] = max(last_of_study.get(pair, 0.0), at)
    row = upsert(association)
    tx.execute(
        row.on_conflict_do_update(
            index_elements=["association_id"],
            set_={
                "last_record_at": func.max(association.c.last_record_at, row.excluded.last_record_at),
                "calling_ae_title": row.excluded.calling_ae_title,
            },
        ),
        [
            {
                "association_id": name,
                "listener": listener,
                "calling_ae_title": title,
                "state": AssociationState.OPEN,
                "last_record_at": at,
            }
            for name, (at, title) in last.items()
        ],
    )
    link = upsert(association_study)
    tx.execute(
        link.on_conflict_do_update(
            index_elements=["association_id", "study_instance_uid"],
            set_={"last_record_at": func.max(association_study.c.last_record_at, link.excluded.last_record_at)},
        ),
        [
            {"association_id": name, "study_instance_uid": study, "last_record_at": at}
            for (name, study), at in last_of_study.items()
        ],
    )


def _count_own(tx: Tx, own: Sequence[IndexedInstance]) -> None:
    if not own:
        return
    times = Counter(one.entry.sop_instance_uid for one in own)
    last = {one.entry.sop_instance_uid: one.received_at for one in own}
    row = upsert(own_object_returned)
    tx.execute(
        row.on_conflict_do_update(
            index_elements=["sop_instance_uid"],
            set_={"times": own_object_returned.c.times + row.excluded.times, "last_at": row.excluded.last_at},
        ),
        [{"sop_instance_uid": uid, "times": n, "last_at": last[uid]} for uid, n in times.items()],
    )


def _row(found: IndexedInstance, *, conflict: bool) -> dict[str, object]:
    entry = found.entry
    return {
        "sop_instance_uid": entry.sop_instance_uid,
        "digest": found.digest,
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
        "received_at": found.received_at,
        "conflict": conflict,
    }


def _portions(uids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(uids)
    while some := list(islice(rest, _LOOK_UP)):
        yield some
