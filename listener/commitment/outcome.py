"""What a try to report a storage commitment came to, and what follows from it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from egfr_dls.ledger import Ledger, commitments
from egfr_dls.ledger.commitments import GIVE_UP_SECONDS, DueReport
from egfr_dls.settings_sections import PeerTls
from egfr_dls.telemetry import get_logger

BACK_OFF_FIRST_SECONDS = 5.0
BACK_OFF_CAP_SECONDS = 300.0  # a requester that was away for long hears within this of its return

# Statuses of an N-EVENT-REPORT-RSP (PS3.7 10.1.1.1.8). Every other one is final: the requester has our report and does not
# take it, most often because it does not know the transaction any more.
ARRIVED = frozenset({0x0000, 0x0107, 0x0116})  # success; attribute list error, attribute value out of range: warnings
PASSING = frozenset({0x0110, 0x0213})  # processing failure, resource limitation


@dataclass(frozen=True, slots=True)
class Address:
    """Where a requester takes associations, and how."""

    host: str
    port: int
    tls: PeerTls | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """The requester's status, or a named cause why there is none."""

    status: int | None
    reason: str = ""


def conclude(ledger: Ledger, report: DueReport, tried: Tried, now: float, *, wait: bool = True) -> None:
    """Record a try under the lease that was claimed for it, and give the lease back.

    Parameters
    ----------
    wait
        False: the next try, by other means, may follow at once
    """
    attempts, said = report.attempts + 1, {"status": None if tried.status is None else f"{tried.status:04X}"}
    if tried.status in ARRIVED:
        with ledger.begin() as tx:
            commitments.reported(tx, report.id, tried.status)
        get_logger().info("commitment_reported", attempts=attempts, **said)
    elif _is_over(report, tried, now):
        reason = tried.reason or "REFUSED"
        with ledger.begin() as tx:
            commitments.bury(tx, report.id, reason, tried.status)
        get_logger().error("commitment_dead", reason=reason, attempts=attempts, **said)
    else:
        reason = tried.reason or "NOT_NOW"
        with ledger.begin() as tx:
            due_at = now + (back_off_seconds(attempts) if wait else 0.0)
            commitments.postpone(tx, report.id, due_at, reason, tried.status)
        get_logger().warning("commitment_postponed", reason=reason, attempts=attempts, **said)


def back_off_seconds(attempts: int) -> float:
    """Return the wait after the ``attempts``-th try."""
    doubled: float = BACK_OFF_FIRST_SECONDS * 2.0 ** min(attempts - 1, 20)
    return min(doubled, BACK_OFF_CAP_SECONDS) * random.uniform(0.9, 1.0)  # jitter, not a secret


def _is_over(report: DueReport, tried: Tried, now: float) -> bool:
    """Whether nothing is to be gained by another try: refused for good, or a day has passed since the request."""
    refused = tried.status is not None and tried.status not in PASSING
    return refused or now - report.received_at >= GIVE_UP_SECONDS
