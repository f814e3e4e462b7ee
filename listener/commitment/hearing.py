"""Storage commitment as its SCU: a destination reports on what the reporter asked of it, on an association of its own.

The report goes into the ledger, where the reporter concludes from it, and is answered then: one that is lost is asked for
again, so it needs no record in the spool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import Ledger, proofs
from egfr_dls.telemetry import error_fields, get_logger
from listener.commitment.heard import read_report
from listener.commitment.status import (
    ACTION_FAULTS,
    PUSH_MODEL_CLASS,
    PUSH_MODEL_INSTANCE,
    EventType,
    RequestRefusedError,
)
from listener.upper_layer.command_set import Command, Tag
from listener.upper_layer.dispatch import Channel, Handler, Message

# Statuses of an N-EVENT-REPORT-RSP (PS3.7 10.1.1.1.8)
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110  # C.5.21
NO_SUCH_INSTANCE = 0x0112  # C.5.19
NO_SUCH_EVENT_TYPE = 0x0113  # C.5.18
NO_SUCH_CLASS = 0x0118  # C.5.20


class Hearing:
    """The handler of the receiver's dispatch table.

    Parameters
    ----------
    open_ledger
        called at each report, in the association's thread: a receiver that hears none opens no ledger
    """

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        self._open_ledger = open_ledger

    @property
    def handlers(self) -> Mapping[int, Handler]:
        """What to put into the dispatch table."""
        return {Command.N_EVENT_REPORT_RQ: self._reported}

    def _reported(self, message: Message, channel: Channel) -> None:
        """Answer a report; success only when it stands in the ledger, or is of a transaction that is not ours."""
        status = _fault_of(message)
        if status == SUCCESS:
            try:
                status = self._hear(message, channel)
            except RequestRefusedError as error:
                status = ACTION_FAULTS[error.fault].status
                get_logger().info("commitment_refused", association=channel.accepted.association_id, reason=error.fault)
            except TemporaryFailureError as error:
                status = PROCESSING_FAILURE  # it may come again; else the reporter asks again
                get_logger().warning("ledger_unavailable", **error_fields(error))
        channel.respond(message, status)

    def _hear(self, message: Message, channel: Channel) -> int:
        """Write a report down. One of an unknown transaction is no fault of the destination's: it is told, and ends there."""
        report = read_report(message.data, message.context.transfer_syntax)
        with closing(self._open_ledger()) as ledger, ledger.begin() as tx:
            known = proofs.hear(tx, report.transaction_uid, report.committed, report.failures)
        state = ("failures_exist" if report.failures else "all_committed") if known else "unknown_transaction"
        get_logger().info(
            "commitment_heard", association=channel.accepted.association_id, count=len(report.committed), state=state
        )
        return SUCCESS


def _fault_of(message: Message) -> int:
    """Return the status that the command set alone deserves."""
    command = message.command
    rules = (
        (message.context.abstract_syntax != PUSH_MODEL_CLASS, NO_SUCH_CLASS),
        (command.uid(Tag.AFFECTED_SOP_CLASS_UID) != PUSH_MODEL_CLASS, NO_SUCH_CLASS),
        (command.uid(Tag.AFFECTED_SOP_INSTANCE_UID) != PUSH_MODEL_INSTANCE, NO_SUCH_INSTANCE),
        (command.number(Tag.EVENT_TYPE_ID) not in tuple(EventType), NO_SUCH_EVENT_TYPE),
    )
    return next((status for broken, status in rules if broken), SUCCESS)
