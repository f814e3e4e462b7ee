"""Decides on storage commitment requests: an instance is committed when the ledger has it under the class that is named.

A request may name instances that are durable but not indexed yet, in this listener's folder of the spool or in another's:
those are never called missing. What the ledger does not have is looked for in the spool, in this order: watermarks, spool
past them, ledger. Whatever was durable when the request was recorded is met in the spool (then the request waits for the
next pass) or, if an indexer was there first, in the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from egfr_dls.ledger import Ledger, Tx, commitments, instances
from egfr_dls.ledger.commitments import UndecidedRequest
from egfr_dls.spool.contract import SpoolIndex
from egfr_dls.study import ReceivedInstance
from egfr_dls.telemetry import get_logger
from listener.commitment.request import Reference, read_request
from listener.commitment.status import FailureReason, RequestRefusedError

AGAIN_SECONDS = 0.1
AT_ONCE = 64  # requests, each with its data set in memory


@dataclass(frozen=True, slots=True)
class _Open:
    """An undecided request, read."""

    row: UndecidedRequest
    references: tuple[Reference, ...]  # none: it cannot be read

    @property
    def sop_instance_uids(self) -> frozenset[str]:
        return frozenset(r.sop_instance_uid for r in self.references)


class Settlement:
    """Decides on what was requested; the indexer calls ``apply`` after each pass."""

    def __init__(self, ledger: Ledger, spool: SpoolIndex) -> None:
        self._ledger = ledger
        self._spool = spool

    def apply(self, now: float) -> float:
        """Decide on every request that can be decided; return when to ask again (UTC seconds): some wait to be indexed.

        Raises
        ------
        TemporaryFailureError
            the ledger is locked, full or failing: the next call tries again
        """
        with self._ledger.read() as tx:
            found = [_Open(row, _read(row)) for row in commitments.undecided(tx, AT_ONCE)]
            if not found:
                return math.inf
            missing = frozenset[str]().union(*(_missing(tx, one) for one in found))
            marks = instances.watermarks(tx)
        coming = self._not_indexed(marks, missing) if missing else frozenset[str]()
        with self._ledger.begin() as tx:
            decided = [self._decide(tx, one, coming, now) for one in found]
        return math.inf if all(decided) and len(found) < AT_ONCE else now + AGAIN_SECONDS

    def _not_indexed(self, marks: Mapping[str, int], wanted: frozenset[str]) -> frozenset[str]:
        """Return which of these SOP instances lie in the spool past the watermarks, whichever listener received them."""
        return frozenset(
            record.entry.sop_instance_uid
            for listener in self._spool.listeners()
            for record in self._spool.records(listener, marks)
            if isinstance(record.entry, ReceivedInstance) and record.entry.sop_instance_uid in wanted
        )

    def _decide(self, tx: Tx, one: _Open, coming: Collection[str], now: float) -> bool:
        """Settle one request, unless one of its instances is about to be indexed."""
        if not one.references:
            commitments.bury(tx, one.row.id, "UNREADABLE")
            get_logger().error("commitment_dead", reason="UNREADABLE")
            return True
        failures = _failures(tx, one)
        if any(why is FailureReason.NO_SUCH_OBJECT_INSTANCE and uid in coming for uid, why in failures.items()):
            return False
        if commitments.settle(tx, one.row.id, failures, now):
            state = "failures_exist" if failures else "all_committed"
            get_logger().info("commitment_decided", count=len(one.references), state=state)
        return True


def _read(row: UndecidedRequest) -> tuple[Reference, ...]:
    """Return what a request names; it was read once before it was recorded, perhaps by another version of this program."""
    try:
        return read_request(row.request, row.transfer_syntax_uid).references
    except RequestRefusedError:
        return ()


def _missing(tx: Tx, one: _Open) -> frozenset[str]:
    if one.row.duplicate:
        return frozenset()
    return one.sop_instance_uids - commitments.held(tx, one.sop_instance_uids).keys()


def _failures(tx: Tx, one: _Open) -> dict[str, FailureReason]:
    """Return why instances are not committed (PS3.3 C.14.1.1); one that is named under two classes fails for the wrong one."""
    if one.row.duplicate:
        return dict.fromkeys(one.sop_instance_uids, FailureReason.DUPLICATE_TRANSACTION_UID)
    held = commitments.held(tx, one.sop_instance_uids)
    return {
        r.sop_instance_uid: FailureReason.CLASS_INSTANCE_CONFLICT
        if r.sop_instance_uid in held
        else FailureReason.NO_SUCH_OBJECT_INSTANCE
        for r in one.references
        if r.sop_class_uid not in held.get(r.sop_instance_uid, ())
    }
