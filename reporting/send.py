"""One sender per destination: all due objects on one connection, each object settled by its own answer.

When is a result sent again? When its answer says so (``delivery_status``), when no answer was recorded (the same bytes),
and when the destination could not be reached: then it is probed every few seconds, so that a PACS that comes back gets
its results at once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from contextlib import suppress

from egfr_dls.delivery import DeliveryState
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import deliveries, destinations, withdrawals
from egfr_dls.ledger.deliveries import DueDelivery
from egfr_dls.telemetry import error_fields, get_logger
from egfr_dls.uids import OBJECT_KINDS
from reporting import acceptance
from reporting.delivery_status import BYTES_UNREADABLE, GIVE_UP_SECONDS, Outcome, back_off_seconds
from reporting.destination_loop import work_on
from reporting.probing import PROBE_FIRST_SECONDS, Probing
from reporting.register import Register
from reporting.transport import Answered, SendingLine, Transport, Unreachable

OPTIONAL_KINDS = frozenset(OBJECT_KINDS) - {"report", "rejection"}


class Sender:
    """Delivers what is due to one destination until it is told to stop."""

    def __init__(self, register: Register, transport: Transport) -> None:
        self._register = register
        self._ledger = register.store.ledger
        self._transport = transport
        self._clock = register.clock
        self._probing = Probing(register.clock)

    def run(self, stop: threading.Event) -> None:
        """Send until ``stop`` is set; trouble with one object or with the ledger never ends the thread."""
        work_on(self._register, self._probing, lambda _changes: self.send_due(stop), self._say_failed, stop)
        with suppress(TemporaryFailureError), self._ledger.begin() as tx:
            destinations.release(tx, self._register.name, self._register.worker)

    def send_due(self, stop: threading.Event) -> int:
        """Send what is due now; return how many objects were settled."""
        now, name = self._clock(), self._register.name
        if self._probing.is_early():
            return 0
        with self._ledger.read() as tx:
            parked = destinations.parked_reasons(tx).get(name) is not None
            due = [] if parked else deliveries.due(tx, name, now)
        if not due:
            return 0  # without a write, which would wake the senders, this one too
        with self._ledger.begin() as tx:
            if not self._register.may_work(tx):
                return 0
        line = self._transport.call(due)
        if isinstance(line, Unreachable):
            self._not_reached(due, line)
            return 0
        self._probing.reached()
        try:
            if self._fits_no_longer(line, due):
                return 1  # to look again: what is due now is another
            settled = sum(self._send_one(line, d) for d in due if not stop.is_set())
        finally:
            line.close()
        if not settled:  # the association was lost before the first request
            self._probing.not_before(self._clock() + PROBE_FIRST_SECONDS)
        return settled

    def _fits_no_longer(self, line: SendingLine, due: Sequence[DueDelivery]) -> bool:
        """Whether reports are built anew, since the destination takes them as something else."""
        accepted, destination = line.accepted, self._register.destination
        if accepted is None:
            return False
        with self._ledger.read() as tx:
            if not acceptance.is_news(tx, destination, accepted, [d.sop_class_uid for d in due], self._clock()):
                return False
        with self._ledger.begin() as tx:
            count = acceptance.adapt(tx, destination, accepted, self._clock())
        if count:
            get_logger().info("reports_built_anew", destination=destination.name, count=count)
        return count > 0

    def _say_failed(self, error: Exception) -> None:
        get_logger().error("sending_failed", destination=self._register.name, **error_fields(error))

    def _not_reached(self, due: Sequence[DueDelivery], why: Unreachable) -> None:
        self._probing.failed()
        with self._ledger.begin() as tx:
            if why.parks:
                destinations.park(tx, self._register.name, why.reason)
            for d in due:
                deliveries.note_try(tx, d.sop_instance_uid, self._register.name, self._clock(), why.reason)
        for d in due:
            if not why.parks and self._day_is_over(d):
                self._register.settle(d, DeliveryState.DEAD, reason="GAVE_UP")
        self._register.say_unreachable(why, self._probing.failures)

    def _send_one(self, line: SendingLine, due: DueDelivery) -> int:
        name = self._register.name
        if not line.is_open:
            return 0  # lost on the way: the rest stays queued
        with self._ledger.read() as tx:
            if deliveries.blocked(tx, due.sop_instance_uid, name):
                return 0
        if not line.accepts(due):
            refused = DeliveryState.NOT_ACCEPTED if due.kind in OPTIONAL_KINDS else DeliveryState.PARKED
            self._register.settle(due, refused, reason="SOP_CLASS_NOT_ACCEPTED")
            return 1
        with self._ledger.begin() as tx:
            if not self._register.may_work(tx):
                return 0
            if deliveries.begin_attempt(tx, due.sop_instance_uid, name, self._clock()) is None:
                return 0  # somebody else settled it meanwhile
        try:
            answered = line.store(due, self._register.store.objects.path(due.sha256))
        except OSError:  # the disk with the kept bytes
            answered = Answered(BYTES_UNREADABLE)
        self._conclude(line, due, answered)
        return 1

    def _conclude(self, line: SendingLine, due: DueDelivery, answered: Answered) -> None:
        rule, status = answered.rule, answered.status
        if rule.outcome is Outcome.STORED:
            proof_due_at = self._clock() if self._wants_proof(line) else None
            self._register.settle(
                due, DeliveryState.STORED, status=status, reason=rule.reason, proof_due_at=proof_due_at
            )
        elif rule.outcome is Outcome.OTHER_CLASS and self._goes_as_another(line, due):
            get_logger().warning("class_refused", study_key=due.study_key, destination=self._register.name, kind=due.kind,
                                 status=None if status is None else f"{status:04X}", reason=rule.reason)  # fmt: skip
        elif rule.outcome in (Outcome.PARK, Outcome.OTHER_CLASS):
            self._register.settle(due, DeliveryState.PARKED, status=status, reason=rule.reason)
        else:
            self._retry(due, answered)
        if rule.outcome is Outcome.PARK_ALL:
            self._register.park_destination(rule.reason)
            self._register.say_unreachable(Unreachable(rule.reason, parks=True), 1)

    def _goes_as_another(self, line: SendingLine, due: DueDelivery) -> bool:
        """Whether the report that the refused object belongs to is built anew, as a class that was not tried."""
        destination = self._register.destination
        with self._ledger.begin() as tx:
            if withdrawals.is_withdrawn(tx, due.sop_instance_uid):
                return False
            return acceptance.refuse(tx, destination, due.sop_class_uid, line.accepted, self._clock()) > 0

    def _wants_proof(self, line: SendingLine) -> bool:
        """Whether the site insists on a proof, or the destination offers one."""
        return self._register.destination.storage_commitment is not None or line.offers_proof

    def _retry(self, due: DueDelivery, answered: Answered) -> None:
        rule, status = answered.rule, answered.status
        alike = due.alike + 1 if due.reason == rule.reason else 1
        if rule.tries is not None and alike >= rule.tries:
            self._register.settle(due, DeliveryState.PARKED, status=status, reason=rule.reason, alike=alike)
            return
        if self._day_is_over(due):
            self._register.settle(due, DeliveryState.DEAD, status=status, reason="GAVE_UP")
            return
        first_seconds = self._register.destination.retry_seconds
        wait = back_off_seconds(due.attempts + 1, first_seconds, random.uniform(-0.1, 0.1))
        self._register.settle(
            due, DeliveryState.QUEUED, status=status, reason=rule.reason, alike=alike, due_at=self._clock() + wait
        )

    def _day_is_over(self, due: DueDelivery) -> bool:
        """Whether a try that just failed was the last: a day of standing still, by itself, loses nothing."""
        return due.first_try_at is not None and self._clock() - due.first_try_at >= GIVE_UP_SECONDS
