"""Writes down what became of an object at a destination, and says so; the study is delivered when its report is proven."""

from __future__ import annotations

from dataclasses import dataclass

from egfr_dls.delivery import NOT_PROVEN, OVER, STUCK, THERE, DeliveryState
from egfr_dls.job_loop import Clock
from egfr_dls.ledger import Tx, deliveries, destinations, proofs, studies, withdrawals
from egfr_dls.ledger.deliveries import DueDelivery
from egfr_dls.ledger.proofs import DueProof
from egfr_dls.settings import Settings
from egfr_dls.settings_sections import Destination
from egfr_dls.store import Store
from egfr_dls.study import StudyState
from egfr_dls.telemetry import get_logger
from reporting.transport import Unreachable

LEASE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Register:
    """The ledger as the threads of one destination write to it.

    ``worker`` names the process, which holds the destination's lease. ``clock``: UTC seconds.
    """

    settings: Settings
    store: Store
    destination: Destination
    worker: str
    clock: Clock

    @property
    def name(self) -> str:
        """The destination's name."""
        return self.destination.name

    def may_work(self, tx: Tx) -> bool:
        """Take or renew the lease: one process at a time works for a destination, and none for a parked one."""
        return destinations.claim(tx, self.name, self.worker, self.clock(), LEASE_SECONDS) == ""

    def settle(
        self,
        due: DueDelivery,
        to: DeliveryState,
        *,
        status: int | None = None,
        reason: str = "",
        alike: int = 1,
        due_at: float | None = None,
        proof_due_at: float | None = None,
    ) -> None:
        """Record what a try to send came to."""
        with self.store.ledger.begin() as tx:
            attempts = deliveries.settle(
                tx,
                due.sop_instance_uid,
                self.name,
                to,
                status=status,
                reason=reason,
                alike=alike,
                due_at=due_at,
                proof_due_at=proof_due_at,
            )
            if attempts is None:
                return
            held_back = self._follow(tx, due, to)
        self._say(due, to, reason, attempts, status)
        if held_back:
            get_logger().error("report_held_back", study_key=due.study_key, destination=self.name, reason=reason)

    def prove(self, one: DueProof, to: DeliveryState, reason: str | None = None) -> None:
        """Record what a proof came to; None leaves the reason of storing. What is withdrawn is not sent again."""
        with self.store.ledger.begin() as tx:
            if to not in THERE and withdrawals.is_withdrawn(tx, one.sop_instance_uid):
                to = DeliveryState.WITHDRAWN
            attempts = proofs.settle(tx, one.sop_instance_uid, self.name, to, self.clock(), reason)
            if attempts is None:
                return
            held_back = self._follow(tx, one, to)
        self._say(one, to, reason or "", attempts)
        if held_back:
            get_logger().error("report_held_back", study_key=one.study_key, destination=self.name, reason=reason)

    def give_up_proof(self, one: DueProof) -> None:
        """Leave an object stored and not proven: a person must look."""
        with self.store.ledger.begin() as tx:
            proofs.give_up(tx, one.sop_instance_uid, self.name, NOT_PROVEN)
            self._follow(tx, one, DeliveryState.STORED)
        get_logger().error(
            "delivery_not_proven",
            study_key=one.study_key,
            destination=self.name,
            kind=one.kind,
            attempts=one.tries,
        )

    def park_destination(self, reason: str) -> None:
        """Send nothing there until a person has looked."""
        with self.store.ledger.begin() as tx:
            destinations.park(tx, self.name, reason)

    def say_unreachable(self, why: Unreachable, failures: int) -> None:
        """Say that the destination could not be called."""
        log = get_logger().error if why.parks else get_logger().warning
        action = "destination_parked" if why.parks else "destination_unreachable"
        log(action, destination=self.name, reason=why.reason, count=failures)

    def _follow(self, tx: Tx, one: DueDelivery | DueProof, to: DeliveryState) -> bool:
        """Move the study if that was what it waited for; return whether a report waits for what is stuck now."""
        required = [d.name for d in self.settings.destinations if d.required]
        if to in OVER and deliveries.report_arrived(tx, one.study_instance_uid, required):
            studies.move(tx, one.study_instance_uid, StudyState.DELIVERED, self.clock())
        return to in STUCK and deliveries.report_waits(tx, one.sop_instance_uid, self.name)

    def _say(
        self, one: DueDelivery | DueProof, to: DeliveryState, reason: str, attempts: int, status: int | None = None
    ) -> None:
        log = get_logger().error if to in STUCK else get_logger().info
        log(
            f"delivery_{to}",
            study_key=one.study_key,
            destination=self.name,
            kind=one.kind,
            status=None if status is None else f"{status:04X}",
            reason=reason or None,
            attempts=attempts,
        )
