"""Storage commitment requests of our senders, from received to reported (PS3.4 Annex J).

A request is decided when all that was durable before it is in the ledger (``listener.commitment.settlement``). Who sends
its report holds a lease that was taken in a transaction, so that processes and listeners never send one twice at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from sqlalchemy import ColumnElement, Row, and_, exists, insert, or_, select, union_all, update
from sqlalchemy.dialects.sqlite import insert as upsert

from egfr_dls.ledger.engine import Tx
from egfr_dls.ledger.instances import AssociationState
from egfr_dls.ledger.schema import association, built_object, commitment, instance
from egfr_dls.spool.contract import CommitmentRequested

GIVE_UP_SECONDS = 24 * 3600.0
LEASE_SECONDS = 120.0  # longer than one report can take (association, request, answer)
SAME_ASSOCIATION_SECONDS = 5.0  # a report has so long to go out on the association that asked, while that is open
_LOOK_UP = 500  # UIDs a statement; SQLite takes 32766 parameters


class CommitmentState(StrEnum):
    """Where a request stands."""

    REQUESTED = "requested"  # not decided yet
    SETTLED = "settled"  # decided; its report waits to be sent
    REPORTED = "reported"  # the requester has answered the report
    DEAD = "dead"  # a day of tries, refused, or nobody to send it to


TRANSITIONS: dict[CommitmentState, frozenset[CommitmentState]] = {
    # every one to REQUESTED: asked again, it is decided and reported again
    CommitmentState.REQUESTED: frozenset({CommitmentState.REQUESTED, CommitmentState.SETTLED, CommitmentState.DEAD}),
    CommitmentState.SETTLED: frozenset(CommitmentState),
    CommitmentState.REPORTED: frozenset({CommitmentState.REQUESTED}),
    CommitmentState.DEAD: frozenset({CommitmentState.REQUESTED}),
}


@dataclass(frozen=True, slots=True)
class UndecidedRequest:
    """A request whose references have not been looked up; ``request`` is its data set as received."""

    id: int
    request: bytes
    transfer_syntax_uid: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class DueReport:
    """A decided request whose report should go out.

    ``failures``: SOP Instance UID -> Failure Reason (0008,1197) of what is not committed. ``association_open``: the
    association that asked may still take it.
    """

    id: int
    request: bytes
    transfer_syntax_uid: str  # of ``request``
    failures: Mapping[str, int]
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    association_id: str
    association_open: bool
    received_at: float
    attempts: int


def enter(tx: Tx, entry: CommitmentRequested, payload: bytes, listener: str, now: float) -> None:
    """Enter a request that the spool holds; call it after the instances of its batch.

    The same request again is decided and reported again. Another one under its Transaction UID is a duplicate: it fails
    as a whole. One that is older than a day is dead: a ledger that is rebuilt reports nothing for a second time.

    Parameters
    ----------
    payload
        the record's payload: the data set of the N-ACTION
    listener
        whose record it is; for the association's row
    """
    received_at = entry.received_at.timestamp()
    too_old = now - received_at > GIVE_UP_SECONDS
    _note_association(tx, entry, listener)
    digest = hashlib.sha256(payload).hexdigest()
    known = tx.execute(
        select(commitment.c.id, commitment.c.request_sha256, commitment.c.calling_ae_title)
        .where(commitment.c.transaction_uid == entry.transaction_uid)
        .order_by(commitment.c.id)
    ).all()
    again = [row.id for row in known if (row.request_sha256, row.calling_ae_title) == (digest, entry.calling_ae_title)]
    state = CommitmentState.DEAD if too_old else CommitmentState.REQUESTED
    values: dict[str, object] = {
        **_NO_LEASE,  # whoever is sending the report of before does not conclude this one
        "request": payload,
        "called_ae_title": entry.called_ae_title,
        "peer_address": entry.peer_address,
        "association_id": entry.association_id,
        "received_at": received_at,
        "due_at": received_at,
        "attempts": 0,
        "reason": "TOO_OLD" if too_old else "",
    }
    if again:
        _move(tx, again[0], state, **values)
        return
    tx.execute(
        insert(commitment).values(
            **values,
            state=state,
            transaction_uid=entry.transaction_uid,
            request_sha256=digest,
            transfer_syntax_uid=entry.transfer_syntax_uid,
            calling_ae_title=entry.calling_ae_title,
            duplicate=bool(known),
        )
    )


def undecided(tx: Tx, limit: int) -> list[UndecidedRequest]:
    """Return requests whose references have not been looked up, oldest first."""
    rows = tx.execute(
        select(commitment.c.id, commitment.c.request, commitment.c.transfer_syntax_uid, commitment.c.duplicate)
        .where(commitment.c.state == CommitmentState.REQUESTED)
        .order_by(commitment.c.id)
        .limit(limit)
    )
    return [UndecidedRequest(*row) for row in rows]


def held(tx: Tx, sop_instance_uids: Collection[str]) -> dict[str, frozenset[str]]:
    """Return what is held of these: SOP Instance UID -> SOP Class UIDs; our own objects count, for their bytes are kept."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    rest = iter(sop_instance_uids)
    while some := list(islice(rest, _LOOK_UP)):
        queries = (
            select(t.c.sop_instance_uid, t.c.sop_class_uid).where(t.c.sop_instance_uid.in_(some))
            for t in (instance, built_object)
        )
        for row in tx.execute(union_all(*queries)):
            found[row.sop_instance_uid].add(row.sop_class_uid)
    return {uid: frozenset(classes) for uid, classes in found.items()}


def settle(tx: Tx, commitment_id: int, failures: Mapping[str, int], now: float) -> bool:
    """Record the decision, so that the report is due at once; False if another indexer was there first."""
    decided = tx.execute(
        update(commitment)
        .where(commitment.c.id == commitment_id, commitment.c.state == CommitmentState.REQUESTED)
        .values(state=CommitmentState.SETTLED, failures=json.dumps(dict(failures)), due_at=now)
    )
    return decided.rowcount == 1


def due(tx: Tx, now: float, besides: Collection[str] = (), limit: int = 16) -> list[DueReport]:
    """Return reports that should go out on associations of ours now: the one that asked is over, or was given its time.

    ``besides``: calling AE titles of requesters that are being reported to already.
    """
    had_its_time = or_(commitment.c.attempts > 0, commitment.c.due_at <= now - SAME_ASSOCIATION_SECONDS)
    others = commitment.c.calling_ae_title.not_in(besides)
    return _due(tx, now, limit, or_(~_association_open(), had_its_time), others)


def due_on(tx: Tx, association_ids: Collection[str], now: float, limit: int = 64) -> list[DueReport]:
    """Return reports that could go out on these associations, which asked for them; each is tried there once."""
    return _due(tx, now, limit, commitment.c.association_id.in_(association_ids), commitment.c.attempts == 0)


def claim(tx: Tx, commitment_id: int, sender: str, now: float) -> bool:
    """Take the lease of a report for one try; False if somebody else has it, or it is out already."""
    taken = tx.execute(
        update(commitment)
        .where(commitment.c.id == commitment_id, _is_free(now))
        .values(sender=sender, lease_until=now + LEASE_SECONDS, attempts=commitment.c.attempts + 1)
    )
    return taken.rowcount == 1


def reported(tx: Tx, commitment_id: int, status: int) -> None:
    """Record the requester's answer; the request's data set is not needed any more."""
    _move(tx, commitment_id, CommitmentState.REPORTED, last_status=status, reason="", **_CLOSED)


def postpone(tx: Tx, commitment_id: int, due_at: float, reason: str, status: int | None = None) -> None:
    """Give the lease back; the report goes out again at ``due_at``."""
    _move(tx, commitment_id, CommitmentState.SETTLED, due_at=due_at, last_status=status, reason=reason, **_NO_LEASE)


def bury(tx: Tx, commitment_id: int, reason: str, status: int | None = None) -> None:
    """Give up; the request's data set is not needed any more."""
    _move(tx, commitment_id, CommitmentState.DEAD, last_status=status, reason=reason, **_CLOSED)


def free(tx: Tx, sender: str) -> None:
    """Give back what a process of this name held when it died; called by the next one before it sends."""
    tx.execute(update(commitment).where(commitment.c.sender == sender).values(**_NO_LEASE))


_NO_LEASE: dict[str, object] = {"sender": None, "lease_until": 0.0}
_CLOSED: dict[str, object] = {**_NO_LEASE, "request": b""}


def _move(tx: Tx, commitment_id: int, to: CommitmentState, **values: object) -> None:
    allowed = [state for state in CommitmentState if to in TRANSITIONS[state]]
    tx.execute(
        update(commitment)
        .where(commitment.c.id == commitment_id, commitment.c.state.in_(allowed))
        .values(state=to, **values)
    )


def _is_free(now: float) -> ColumnElement[bool]:
    return and_(
        commitment.c.state == CommitmentState.SETTLED, commitment.c.due_at <= now, commitment.c.lease_until <= now
    )


def _association_open() -> ColumnElement[bool]:
    return exists().where(
        association.c.association_id == commitment.c.association_id, association.c.state == AssociationState.OPEN
    )


def _due(tx: Tx, now: float, limit: int, *conditions: ColumnElement[bool]) -> list[DueReport]:
    rows = tx.execute(
        select(commitment, _association_open().label("association_open"))
        .where(_is_free(now), *conditions)
        .order_by(commitment.c.due_at, commitment.c.id)
        .limit(limit)
    )
    return [_report(row) for row in rows]


def _report(row: Row[tuple[object, ...]]) -> DueReport:
    return DueReport(
        row.id, row.request, row.transfer_syntax_uid, json.loads(row.failures), row.calling_ae_title, row.called_ae_title,
        row.peer_address, row.association_id, row.association_open, row.received_at, row.attempts,
    )  # fmt: skip


def _note_association(tx: Tx, entry: CommitmentRequested, listener: str) -> None:
    """Make the row of an association that brought nothing else; its end may have been entered before."""
    tx.execute(
        upsert(association)
        .values(
            association_id=entry.association_id,
            listener=listener,
            calling_ae_title=entry.calling_ae_title,
            state=AssociationState.OPEN,
            last_record_at=entry.received_at.timestamp(),
        )
        .on_conflict_do_nothing()
    )
