"""Storage commitment on the association that asks: N-ACTION-RSP at once, and the report while it is open and says nothing.

The decision comes from the indexer, another process, by way of the ledger; a thread of the receiver looks there while it
has associations that asked. A report that is not answered here goes out on an association of ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass

from egfr_dls.background import beside
from egfr_dls.ledger import Ledger, commitments
from egfr_dls.ledger.commitments import DueReport
from egfr_dls.telemetry import error_fields, get_logger
from listener.commitment.outcome import Tried, conclude
from listener.commitment.report import encoded, report_on
from listener.commitment.request import read_request
from listener.commitment.scp import ActionCommand, CommitmentScp
from listener.commitment.status import ACTION_SUCCESS, PUSH_MODEL_CLASS, PUSH_MODEL_INSTANCE
from listener.upper_layer.command_set import Command, Tag
from listener.upper_layer.dispatch import Channel, Handler, Message
from listener.upper_layer.negotiation import Context

LOOK_SECONDS = 0.1  # between two looks at the ledger while something is awaited
QUIET_SECONDS = 0.5  # a sender that goes on sending expects answers to its requests, not requests of ours
ANSWER_SECONDS = 10.0
PATIENCE_SECONDS = 60.0  # after its last request an association is not looked after any longer


@dataclass
class _Asker:
    """An association that asked for commitment, and the report that was sent on it, one at a time (PS3.7 D.3.3.3)."""

    channel: Channel
    context: Context
    until: float  # monotonic seconds
    report: DueReport | None = None  # sent, its answer not recorded
    message_id: int = 0
    answer_by: float = 0.0  # monotonic seconds
    status: int | None = None  # of the answer

    def is_over(self, now: float) -> bool:
        """Whether nothing more is to be had of it: closed, asked long ago, or too slow with its answer."""
        return not self.channel.is_open or now >= (self.answer_by if self.report else self.until)

    @property
    def is_quiet(self) -> bool:
        """Whether a report can be sent on it now."""
        return self.report is None and self.channel.quiet_seconds() >= QUIET_SECONDS


class CommitmentDialogue:
    """The handlers of the receiver's dispatch table, and the thread that reports on the associations that asked.

    Parameters
    ----------
    open_ledger
        called in the thread at the first request: a receiver that is never asked opens no ledger
    name
        of this listener, which holds the leases
    """

    def __init__(self, scp: CommitmentScp, open_ledger: Callable[[], Ledger], name: str) -> None:
        self._scp = scp
        self._open_ledger = open_ledger
        self._name = name
        self._lock = threading.Lock()
        self._askers: dict[str, _Asker] = {}  # by association
        self._wake = threading.Event()
        self._stop = False

    @property
    def handlers(self) -> Mapping[int, Handler]:
        """What to put into the dispatch table."""
        return {Command.N_ACTION_RQ: self._asked, Command.N_EVENT_REPORT_RSP: self._answered}

    def running(self) -> AbstractContextManager[None]:
        """Report until the block ends."""
        return beside("commitment-dialogue", self._run, self._end)

    def _end(self) -> None:
        self._stop = True
        self._wake.set()

    def _asked(self, message: Message, channel: Channel) -> None:
        """Answer an N-ACTION-RQ; success only when the spool has synced it."""
        command = ActionCommand(
            message.command.uid(Tag.REQUESTED_SOP_CLASS_UID),
            message.command.uid(Tag.REQUESTED_SOP_INSTANCE_UID),
            message.command.number(Tag.ACTION_TYPE_ID) or 0,
            message.context.abstract_syntax,
            message.context.transfer_syntax,
        )
        answer = self._scp.request(channel.accepted, command, message.data)
        if answer == ACTION_SUCCESS:
            channel.kept()
            self._await(message.context, channel)
        channel.respond(message, answer.status, answer.comment)

    def _await(self, context: Context, channel: Channel) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        with self._lock:
            asker = self._askers.setdefault(channel.accepted.association_id, _Asker(channel, context, until))
            asker.until = until
        self._wake.set()

    def _answered(self, message: Message, channel: Channel) -> None:
        """Take an N-EVENT-REPORT-RSP; its status is recorded by the thread."""
        with self._lock:
            asker = self._askers.get(channel.accepted.association_id)
            if asker is not None and asker.report is not None and asker.message_id == message.command.message_id:
                asker.status = message.command.number(Tag.STATUS)
        self._wake.set()

    def _run(self) -> None:
        with ExitStack() as opened:
            ledger: Ledger | None = None
            while not self._stop:
                self._wake.wait(LOOK_SECONDS if self._askers else None)
                self._wake.clear()
                try:
                    if self._askers:
                        ledger = ledger or opened.enter_context(closing(self._open_ledger()))
                        self._look(ledger)
                except Exception as error:  # noqa: BLE001  # the loop of a stage: what is due goes out on our associations
                    get_logger().error("commitment_failed", **error_fields(error))

    def _look(self, ledger: Ledger) -> None:
        """Record what was answered, forget what is over, and report on what is quiet."""
        with self._lock:
            askers = list(self._askers.values())
        for asker in askers:
            if asker.report is not None:
                self._record(ledger, asker)
        with self._lock:  # where one may have asked again meanwhile
            now = time.monotonic()
            self._askers = {name: a for name, a in self._askers.items() if a.report or not a.is_over(now)}
            quiet = {name: a for name, a in self._askers.items() if a.is_quiet}
        if quiet:
            self._report(ledger, quiet)

    def _record(self, ledger: Ledger, asker: _Asker) -> None:
        """Record the answer to a report, or that there will be none."""
        assert asker.report is not None
        if asker.status is not None:
            conclude(ledger, asker.report, Tried(asker.status), time.time())
        elif asker.is_over(time.monotonic()):
            conclude(ledger, asker.report, Tried(None, "NO_ANSWER"), time.time(), wait=False)
            asker.until = 0.0  # what else it asked for is reported by other means
        else:
            return
        asker.report = asker.status = None

    def _report(self, ledger: Ledger, quiet: dict[str, _Asker]) -> None:
        with ledger.read() as tx:
            due = commitments.due_on(tx, quiet.keys(), time.time())
        for report in due:
            if report.association_id in quiet:
                self._send(ledger, quiet.pop(report.association_id), report)

    def _send(self, ledger: Ledger, asker: _Asker, report: DueReport) -> None:
        with ledger.begin() as tx:
            if not commitments.claim(tx, report.id, self._name, time.time()):
                return
        content = report_on(read_request(report.request, report.transfer_syntax_uid), report.failures)
        elements: dict[int, int | str] = {
            Tag.AFFECTED_SOP_CLASS_UID: PUSH_MODEL_CLASS,
            Tag.AFFECTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
            Tag.EVENT_TYPE_ID: int(content.event_type),
        }
        data = encoded(content, asker.context.transfer_syntax)
        with self._lock:  # its answer is not looked for before its Message ID stands here
            asker.report, asker.answer_by = report, time.monotonic() + ANSWER_SECONDS
            asker.message_id = asker.channel.post(asker.context, Command.N_EVENT_REPORT_RQ, elements, data) or 0
