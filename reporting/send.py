"""One sender per destination: all due objects in one association, each object settled by its own answer.

When is a result sent again? When its answer says so (``delivery_status``), when no answer was recorded (the same bytes),
and when the destination could not be reached: then it is probed every few seconds, so that a PACS that comes back gets
its results at once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # pynetdicom makes its SOP classes at run time

from egfr_dls.delivery import PASSED, STUCK, DeliveryState
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.job_loop import Clock
from egfr_dls.ledger import Tx, deliveries, destinations, studies
from egfr_dls.ledger.deliveries import DueDelivery
from egfr_dls.outgoing import let_reader_rest, send_at_once
from egfr_dls.settings import Destination, Settings
from egfr_dls.store import Store
from egfr_dls.study import StudyState
from egfr_dls.telemetry import error_fields, get_logger
from reporting.delivery_status import (
    FEW_TRIES,
    GIVE_UP_SECONDS,
    NO_REASON_GIVEN,
    PERMANENT_REJECTIONS,
    Outcome,
    Rule,
    back_off_seconds,
    rule_for,
)

POLL_SECONDS = 1.0  # for what becomes due by time alone
LEASE_SECONDS = 120.0
PROBE_FIRST_SECONDS = 1.0
PROBE_CAP_SECONDS = 10.0  # a destination that was down is tried at least this often
ASSOCIATE_SECONDS = 10.0
ANSWER_SECONDS = 60.0
READER_ROUND_SECONDS = 0.001  # of pynetdicom's loop
_config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent as it lies on the disk: not decoded, not encoded again
OPTIONAL_KINDS = frozenset({"roi", "pages", "map", "pdf"})


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The association could not be opened; ``parks`` names a rejection that repeating cannot mend."""

    reason: str
    parks: bool


class Sender:
    """Delivers what is due to one destination until it is told to stop."""

    def __init__(self, settings: Settings, store: Store, destination: Destination, name: str, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._destination = destination
        self._name = name
        self._clock = clock
        self._failures = 0
        self._rejections = 0
        self._probe_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Send until ``stop`` is set; trouble with one object or with the ledger never ends the thread."""
        name = self._destination.name
        with self._store.ledger.changes() as changes:
            while not stop.is_set():
                try:
                    if not self.send_due(stop):
                        changes.wait(stop, self._pause())
                except TemporaryFailureError as error:
                    get_logger().warning("ledger_unavailable", destination=name, **error_fields(error))
                    stop.wait(POLL_SECONDS)
                except Exception as error:  # noqa: BLE001  # the loop of a stage: a defect must not stop a destination for good
                    get_logger().error("sending_failed", destination=name, **error_fields(error))
                    stop.wait(PROBE_CAP_SECONDS)
        with suppress(TemporaryFailureError), self._store.ledger.begin() as tx:
            destinations.release(tx, name, self._name)

    def _pause(self) -> float:
        """Return how long to wait for a change of the ledger at most, seconds."""
        until_probe = self._probe_at - self._clock()
        return min(POLL_SECONDS, until_probe) if until_probe > 0 else POLL_SECONDS

    def send_due(self, stop: threading.Event) -> int:
        """Send what is due now; return how many objects were settled."""
        now = self._clock()
        if now < self._probe_at:
            return 0
        with self._store.ledger.read() as tx:
            parked = destinations.parked_reasons(tx).get(self._destination.name) is not None
            due = [] if parked else deliveries.due(tx, self._destination.name, now)
        if not due:
            return 0  # without a write, which would wake the senders, this one too
        with self._store.ledger.begin() as tx:
            if not self._may_send(tx):
                return 0
        opened = self._open(due)
        if isinstance(opened, Unreachable):
            self._not_reached(due, opened)
            return 0
        self._failures = self._rejections = 0
        try:
            settled = sum(self._send_one(opened, d) for d in due if not stop.is_set())
        finally:
            if opened.is_established:
                opened.release()
        if not settled:  # the association was lost before the first request
            self._probe_at = self._clock() + PROBE_FIRST_SECONDS
        return settled

    def _may_send(self, tx: Tx) -> bool:
        """Take or renew the lease: there is one sender a destination, and none to a parked one."""
        claimed = destinations.claim(tx, self._destination.name, self._name, self._clock(), LEASE_SECONDS)
        return claimed == ""

    def _open(self, due: Sequence[DueDelivery]) -> Association | Unreachable:
        ae = AE(ae_title=self._settings.listener.ae_title)
        ae.acse_timeout = ae.connection_timeout = ASSOCIATE_SECONDS
        ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
        ae.add_requested_context(Verification)  # accepted by every PACS: tells "class not taken" from "not reached"
        for sop_class_uid in dict.fromkeys(d.sop_class_uid for d in due):
            for transfer_syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
                ae.add_requested_context(sop_class_uid, transfer_syntax)  # one each: the acceptor picks none for us
        try:
            assoc = ae.associate(
                self._destination.host,
                self._destination.port,
                ae_title=self._destination.ae_title,
                evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once)],
            )
        except OSError:
            return Unreachable("NAME_NOT_RESOLVED", parks=False)
        if assoc.is_established:
            return assoc
        if assoc.is_rejected:
            answer = assoc.acceptor.primitive
            key = (answer.result, answer.result_source, answer.diagnostic) if answer is not None else None
            return self._rejected(key)
        return Unreachable("UNREACHABLE", parks=False)

    def _rejected(self, key: tuple[int | None, int | None, int | None] | None) -> Unreachable:
        self._rejections = self._rejections + 1 if key == NO_REASON_GIVEN else 0
        reason = PERMANENT_REJECTIONS.get(key) if key is not None else None
        if self._rejections >= FEW_TRIES:
            reason = "REJECTED_WITHOUT_REASON"
        return Unreachable(reason or "ASSOCIATION_REJECTED", parks=reason is not None)

    def _not_reached(self, due: Sequence[DueDelivery], why: Unreachable) -> None:
        self._failures += 1
        self._probe_at = self._clock() + _probe_seconds(self._failures)
        with self._store.ledger.begin() as tx:
            if why.parks:
                destinations.park(tx, self._destination.name, why.reason)
            for d in due:
                deliveries.note_try(tx, d.sop_instance_uid, self._destination.name, self._clock(), why.reason)
        for d in due:
            if not why.parks and self._day_is_over(d):
                self._settle(d, DeliveryState.DEAD, None, "GAVE_UP")
        log = get_logger().error if why.parks else get_logger().warning
        action = "destination_parked" if why.parks else "destination_unreachable"
        log(action, destination=self._destination.name, reason=why.reason, count=self._failures)

    def _send_one(self, assoc: Association, due: DueDelivery) -> int:
        name = self._destination.name
        if not assoc.is_established:
            return 0  # lost on the way: the rest stays queued
        with self._store.ledger.read() as tx:
            if deliveries.blocked(tx, due.sop_instance_uid, name):
                return 0
        accepted = {c.transfer_syntax[0] for c in assoc.accepted_contexts if c.abstract_syntax == due.sop_class_uid}
        if not accepted:
            self._settle(due, self._not_accepted(due), None, "SOP_CLASS_NOT_ACCEPTED")
            return 1
        with self._store.ledger.begin() as tx:
            if not self._may_send(tx):
                return 0
            if deliveries.begin_attempt(tx, due.sop_instance_uid, name, self._clock()) is None:
                return 0  # somebody else settled it meanwhile
        try:
            status = self._store_request(assoc, due, as_kept=due.transfer_syntax_uid in accepted)
        except OSError:  # the disk with the kept bytes
            self._retry(due, None, Rule(Outcome.RETRY, "BYTES_UNREADABLE"))
            return 1
        if status is None:
            self._retry(due, None, Rule(Outcome.RETRY, "NO_ANSWER"))
            return 1
        rule = rule_for(status)
        if rule.outcome is Outcome.STORED:
            self._settle(due, DeliveryState.STORED, status, rule.reason)
        elif rule.outcome is Outcome.PARK:
            self._settle(due, DeliveryState.PARKED, status, rule.reason)
        else:
            self._retry(due, status, rule)
        return 1

    def _store_request(self, assoc: Association, due: DueDelivery, *, as_kept: bool) -> int | None:
        path: Path = self._store.objects.path(due.sha256)
        content = path if as_kept else dcmread(path)  # to a peer that takes Implicit VR only
        with path.open("rb"):  # what cannot be opened costs itself only
            pass
        let_reader_rest(assoc)
        try:
            answer = assoc.send_c_store(content)
        except RuntimeError:  # pynetdicom: the association ended between two objects
            return None
        except OSError:  # half a request is out
            assoc.abort()
            raise
        return None if "Status" not in answer else int(answer.Status)

    def _retry(self, due: DueDelivery, status: int | None, rule: Rule) -> None:
        alike = due.alike + 1 if due.reason == rule.reason else 1
        if rule.tries is not None and alike >= rule.tries:
            self._settle(due, DeliveryState.PARKED, status, rule.reason, alike=alike)
            return
        if self._day_is_over(due):
            self._settle(due, DeliveryState.DEAD, status, "GAVE_UP")
            return
        wait = back_off_seconds(due.attempts + 1, self._destination.retry_seconds, random.uniform(-0.1, 0.1))
        self._settle(due, DeliveryState.QUEUED, status, rule.reason, alike=alike, due_at=self._clock() + wait)

    def _not_accepted(self, due: DueDelivery) -> DeliveryState:
        return DeliveryState.NOT_ACCEPTED if due.kind in OPTIONAL_KINDS else DeliveryState.PARKED

    def _day_is_over(self, due: DueDelivery) -> bool:
        """Whether a try that just failed was the last: a day of standing still, by itself, loses nothing."""
        return due.first_try_at is not None and self._clock() - due.first_try_at >= GIVE_UP_SECONDS

    def _settle(
        self,
        due: DueDelivery,
        to: DeliveryState,
        status: int | None,
        reason: str,
        alike: int = 1,
        due_at: float | None = None,
    ) -> None:
        uid, name = due.sop_instance_uid, self._destination.name
        with self._store.ledger.begin() as tx:
            attempts = deliveries.settle(tx, uid, name, to, status=status, reason=reason, alike=alike, due_at=due_at)
            if attempts is None:
                return
            required = [d.name for d in self._settings.destinations if d.required]
            if to in PASSED and deliveries.report_arrived(tx, due.study_instance_uid, required):
                studies.move(tx, due.study_instance_uid, StudyState.DELIVERED, self._clock())
            held_back = to in STUCK and deliveries.report_waits(tx, uid, name)
        log = get_logger().error if to in STUCK else get_logger().info
        log(
            f"delivery_{to}",
            study_key=due.study_key,
            destination=name,
            kind=due.kind,
            status=None if status is None else f"{status:04X}",
            reason=reason or None,
            attempts=attempts,
        )
        if held_back:
            get_logger().error("report_held_back", study_key=due.study_key, destination=name, reason=reason)


def _probe_seconds(failures: int) -> float:
    doubled: float = PROBE_FIRST_SECONDS * 2.0 ** (failures - 1)
    return min(doubled, PROBE_CAP_SECONDS) * random.uniform(0.8, 1.0)
