"""Storage Commitment Push Model as SCP: a request is durable before it is answered (PS3.4 J.3.2, PS3.7 10.1.4).

The listener's processes share the work. The receiver records the request in the spool (here). The indexer enters it in the
ledger and decides on it (``settlement``). The report goes out on the association that asked while that is open
and idle (``dialogue``), else on one of our own (``reporter``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from egfr_dls.spool import SpoolWriteError
from egfr_dls.spool.contract import CommitmentRequested, SpoolWriter
from egfr_dls.telemetry import error_fields, get_logger
from listener.admission import Accepted
from listener.commitment.request import read_request
from listener.commitment.status import (
    ACTION_FAULTS,
    ACTION_SUCCESS,
    PUSH_MODEL_CLASS,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    ActionAnswer,
    RequestFault,
    RequestRefusedError,
)
from listener.storage.facts import is_uid
from listener.storage.reception import utc_now


@dataclass(frozen=True, slots=True)
class ActionCommand:
    """What an N-ACTION-RQ (PS3.7 table 10.3-7) and its presentation context say."""

    sop_class_uid: str  # Requested SOP Class UID (0000,0003)
    sop_instance_uid: str  # Requested SOP Instance UID (0000,1001)
    action_type: int  # Action Type ID (0000,1008)
    context_sop_class_uid: str  # abstract syntax of the presentation context
    transfer_syntax_uid: str


class CommitmentScp:
    """Turns N-ACTION requests into durable records of the spool. Every method may be called from any thread.

    ``ring`` is called when there is a request to enter in the ledger.
    """

    def __init__(
        self,
        spool: SpoolWriter,
        min_free_bytes: int,
        now: Callable[[], datetime] = utc_now,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self._spool = spool
        self._min_free_bytes = min_free_bytes
        self._now = now
        self._ring = ring

    def request(self, accepted: Accepted, command: ActionCommand, data: bytes) -> ActionAnswer:
        """Make a request durable and return what the requester hears.

        Parameters
        ----------
        data
            the Action Information: the data set as it came
        """
        try:
            self._keep(accepted, command, data)
        except RequestRefusedError as error:
            return _refused(accepted, error.fault)
        except SpoolWriteError as error:
            return _refused(accepted, RequestFault.DISK_FULL, error)
        except Exception as error:  # noqa: BLE001  # the handler's border: a defect costs one request, not the service
            return _refused(accepted, RequestFault.DEFECT, error)
        self._ring()
        return ACTION_SUCCESS

    def _keep(self, accepted: Accepted, command: ActionCommand, data: bytes) -> None:
        _check(command)
        request = read_request(data, command.transfer_syntax_uid)
        if self._spool.free_bytes() < self._min_free_bytes:
            raise RequestRefusedError(RequestFault.DISK_FLOOR)
        entry = CommitmentRequested(
            transaction_uid=request.transaction_uid,
            transfer_syntax_uid=command.transfer_syntax_uid,
            calling_ae_title=accepted.request.calling_ae_title,
            called_ae_title=accepted.request.called_ae_title,
            peer_address=accepted.request.peer_address,
            association_id=accepted.association_id,
            received_at=self._now(),
        )
        self._spool.append(entry, [data])
        get_logger().info("commitment_requested", association=accepted.association_id, count=len(request.references))


def _check(command: ActionCommand) -> None:
    rules = (
        (command.sop_class_uid != PUSH_MODEL_CLASS, RequestFault.NO_SUCH_CLASS),
        (command.context_sop_class_uid != PUSH_MODEL_CLASS, RequestFault.NO_SUCH_CLASS),
        (not is_uid(command.sop_instance_uid), RequestFault.INSTANCE_FORM),
        (command.sop_instance_uid != PUSH_MODEL_INSTANCE, RequestFault.NO_SUCH_INSTANCE),
        (command.action_type != REQUEST_COMMITMENT, RequestFault.NO_SUCH_ACTION),
    )
    for broken, fault in rules:
        if broken:
            raise RequestRefusedError(fault)


def _refused(accepted: Accepted, fault: RequestFault, error: Exception | None = None) -> ActionAnswer:
    answer = ACTION_FAULTS[fault]
    log = get_logger().info if error is None else get_logger().error
    log(
        "commitment_refused",
        association=accepted.association_id,
        status=f"{answer.status:04X}",
        reason=fault,
        **(error_fields(error) if error else {}),
    )
    return answer
