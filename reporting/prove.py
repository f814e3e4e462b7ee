"""One prover per destination: what is stored there is proven by storage commitment or by a query, in a thread of its own.

A PACS that does not answer keeps no result waiting. Reports come on the association that asked, while that is open, or on one
to the listener; both write them into the ledger, and the prover concludes from there.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence

from egfr_dls.delivery import DeliveryState
from egfr_dls.ledger import destinations, proofs
from egfr_dls.ledger.changes import Changes
from egfr_dls.ledger.proofs import DueProof, HeardReport
from egfr_dls.telemetry import error_fields, get_logger
from egfr_dls.uids import new_uid
from reporting import proof_rules
from reporting.destination_loop import work_on
from reporting.probing import Probing
from reporting.proof_rules import ACCEPTED, MAY_PASS, Offer, Verdict, Way
from reporting.register import Register
from reporting.transport import ProvingLine, Transport, Unreachable

LINGER_SECONDS = 3.0  # an association that asked stays open for the report


class Prover:
    """Proves what is stored at one destination until it is told to stop."""

    def __init__(self, register: Register, transport: Transport) -> None:
        self._register = register
        self._ledger = register.store.ledger
        self._transport = transport
        self._clock = register.clock
        self._probing = Probing(register.clock)

    def run(self, stop: threading.Event) -> None:
        """Prove until ``stop`` is set; trouble with one object or with the ledger never ends the thread."""
        work_on(self._register, self._probing, lambda changes: self.prove_due(stop, changes), self._say_failed, stop)

    def prove_due(self, stop: threading.Event, changes: Changes) -> int:
        """Conclude what was heard, and ask for what is due; return for how many objects something was done."""
        name = self._register.name
        with self._ledger.read() as tx:
            heard = proofs.heard(tx, name)
            parked = destinations.parked_reasons(tx).get(name) is not None
            due = [] if parked or self._probing.is_early() else proofs.due(tx, name, self._clock())
        for report in heard:
            self._conclude(report)
        if heard or not due:
            return len(heard)  # what is due is looked at again, now that it is known what was proven
        with self._ledger.begin() as tx:
            if not self._register.may_work(tx):
                return 0
        line = self._transport.call_to_prove()
        if isinstance(line, Unreachable):
            self._not_reached(line)
            return 0
        self._probing.reached()
        try:
            self._prove(line, due, stop, changes)
        finally:
            line.close()
        return len(due)

    def _say_failed(self, error: Exception) -> None:
        get_logger().error("proving_failed", destination=self._register.name, **error_fields(error))

    def _not_reached(self, why: Unreachable) -> None:
        self._probing.failed()
        if why.parks:
            self._register.park_destination(why.reason)
        self._register.say_unreachable(why, self._probing.failures)

    def _prove(self, line: ProvingLine, due: Sequence[DueProof], stop: threading.Event, changes: Changes) -> None:
        """Ask study by study, query what is to be queried, and listen for the reports."""
        offer = Offer(self._register.destination.storage_commitment, line.commits, line.finds)
        to_ask: defaultdict[str, list[DueProof]] = defaultdict(list)
        for one in due:
            if proof_rules.way(one, offer) is Way.ASK:
                to_ask[one.study_instance_uid].append(one)
            else:
                self._query(line, one, offer)
        asked = [
            transaction_uid
            for about in to_ask.values()
            if line.is_open and not stop.is_set() and (transaction_uid := self._ask(line, about, offer))
        ]
        if asked:
            self._listen(asked, stop, changes)

    def _ask(self, line: ProvingLine, about: Sequence[DueProof], offer: Offer) -> str | None:
        """Ask about a study's objects; return the Transaction UID where a report is to come."""
        transaction_uid, now = new_uid(), self._clock()
        with self._ledger.begin() as tx:
            again_at = now + min(map(proof_rules.report_seconds, about))
            proofs.ask(tx, transaction_uid, self._register.name, about, now, again_at)
        status = line.ask(transaction_uid, about)
        said = {"study_key": about[0].study_key, "destination": self._register.name, "count": len(about)}
        if status in ACCEPTED:
            get_logger().info("commitment_asked", **said)
            return transaction_uid
        reason = "NO_ANSWER" if status is None else "NOT_NOW" if status in MAY_PASS else "REFUSED"
        get_logger().warning(
            "commitment_not_asked", **said, reason=reason, status=None if status is None else f"{status:04X}"
        )
        if reason == "REFUSED":
            for one in about:
                self._query(line, one, Offer(offer.wanted, commits=False, finds=line.finds))
        else:
            self._hasten(about)
        return None

    def _hasten(self, about: Sequence[DueProof]) -> None:
        """Ask again soon: no report is to come of a request that was not taken."""
        with self._ledger.begin() as tx:
            for one in about:
                wait = self._register.destination.retry_seconds * 2.0**one.tries
                proofs.postpone(tx, one.sop_instance_uid, self._register.name, self._clock() + wait, counts=False)

    def _query(self, line: ProvingLine, one: DueProof, offer: Offer) -> None:
        """Look whether the object is there."""
        if proof_rules.way(one, offer) is Way.NONE:
            self._register.give_up_proof(one)
            return
        made = proof_rules.queries(one, offer)
        there = line.is_there(one)
        if there:
            self._register.prove(one, DeliveryState.VERIFIED)
        elif there is None and made + 1 >= proof_rules.SILENT_QUERIES:
            self._register.give_up_proof(one)
        elif there is None or made + 1 < proof_rules.QUERIES:
            with self._ledger.begin() as tx:
                due_at = self._clock() + proof_rules.query_seconds(made)
                proofs.postpone(tx, one.sop_instance_uid, self._register.name, due_at)
        else:
            self._absent(one)

    def _absent(self, one: DueProof) -> None:
        """Send an object again that is not there, or let a person look."""
        to = DeliveryState.QUEUED if one.absences < proof_rules.ABSENCES else DeliveryState.PARKED
        self._register.prove(one, to, "NOT_THERE")

    def _listen(self, asked: Sequence[str], stop: threading.Event, changes: Changes) -> None:
        """Keep the association open until every report is here, on whatever way, or for some seconds."""
        deadline = time.monotonic() + LINGER_SECONDS
        while (left := deadline - time.monotonic()) > 0 and not stop.is_set():
            with self._ledger.read() as tx:
                if proofs.all_heard(tx, asked):
                    return
            changes.wait(stop, left)

    def _conclude(self, report: HeardReport) -> None:
        """Write down what a report says of each object; of what it does not name it says nothing."""
        for one in report.asked_of:
            if one.sop_instance_uid in report.committed:
                self._register.prove(one, DeliveryState.COMMITTED)
            elif one.sop_instance_uid in report.failures:
                self._failed(one, report.failures[one.sop_instance_uid])
        with self._ledger.begin() as tx:
            proofs.conclude(tx, report.transaction_uid)

    def _failed(self, one: DueProof, failure_reason: int) -> None:
        verdict, reason = proof_rules.verdict(failure_reason)
        get_logger().warning(
            "commitment_failed_for",
            study_key=one.study_key,
            destination=self._register.name,
            kind=one.kind,
            reason=reason,
            status=f"{failure_reason:04X}",
        )
        if verdict is Verdict.ABSENT:
            self._absent(one)
        elif verdict is Verdict.PARK:
            self._register.prove(one, DeliveryState.PARKED, reason)
