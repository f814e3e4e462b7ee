"""What a requester of storage commitment is told: the status of its N-ACTION, and why an instance is not committed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from egfr_dls.errors import EgfrDlsError

PUSH_MODEL_CLASS = "1.2.840.10008.1.20.1"  # Storage Commitment Push Model SOP Class (PS3.4 J.3)
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # its well-known SOP Instance
REQUEST_COMMITMENT = 1  # Action Type ID (0000,1008), PS3.4 table J.3-1


class EventType(IntEnum):
    """Event Type ID (0000,1002) of the report (PS3.4 table J.3-2)."""

    ALL_COMMITTED = 1
    FAILURES_EXIST = 2


class FailureReason(IntEnum):
    """Failure Reason (0008,1197) of an instance that is not committed (PS3.3 C.14.1.1)."""

    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    DUPLICATE_TRANSACTION_UID = 0x0131


class RequestFault(StrEnum):
    """Why a request is not taken; also the ``reason`` of the log event ``commitment_refused``."""

    NO_SUCH_CLASS = "no_such_class"
    NO_SUCH_INSTANCE = "no_such_instance"
    INSTANCE_FORM = "instance_form"
    NO_SUCH_ACTION = "no_such_action"
    NO_DATA_SET = "no_data_set"
    MALFORMED = "malformed"
    NO_TRANSACTION_UID = "no_transaction_uid"
    NO_REFERENCES = "no_references"
    REFERENCE_FORM = "reference_form"
    TOO_MANY_REFERENCES = "too_many_references"
    TOO_LARGE = "too_large"
    DISK_FULL = "disk_full"
    DISK_FLOOR = "disk_floor"
    DEFECT = "defect"


@dataclass(frozen=True, slots=True)
class ActionAnswer:
    """Status (0000,0900) of an N-ACTION-RSP and its Error Comment (0000,0902), LO, never a header value."""

    status: int
    comment: str = ""


ACTION_SUCCESS = ActionAnswer(0x0000)
ACTION_FAULTS: dict[RequestFault, ActionAnswer] = {
    # statuses of PS3.7 10.1.4.1.10, each with its clause there
    RequestFault.NO_SUCH_CLASS: ActionAnswer(0x0118, "(0000,0003) or the context is not the push model"),  # C.5.20
    RequestFault.NO_SUCH_INSTANCE: ActionAnswer(0x0112, "(0000,1001) is not the well-known instance"),  # C.5.19
    RequestFault.INSTANCE_FORM: ActionAnswer(0x0117, "(0000,1001) is not of the form of PS3.5 9.1"),  # C.5.12
    RequestFault.NO_SUCH_ACTION: ActionAnswer(0x0123, "Action Type ID (0000,1008) is not 1"),  # C.5.24
    RequestFault.NO_DATA_SET: ActionAnswer(0x0115, "No Action Information"),  # C.5.10
    RequestFault.MALFORMED: ActionAnswer(0x0110, "The data set is not encoded as negotiated"),  # C.5.21
    RequestFault.NO_TRANSACTION_UID: ActionAnswer(0x0115, "No valid Transaction UID (0008,1195)"),
    RequestFault.NO_REFERENCES: ActionAnswer(0x0115, "No Referenced SOP Sequence (0008,1199)"),
    RequestFault.REFERENCE_FORM: ActionAnswer(0x0115, "An item lacks valid (0008,1150), (0008,1155)"),
    RequestFault.TOO_MANY_REFERENCES: ActionAnswer(0x0213, "Too many items in (0008,1199)"),  # C.5.22
    RequestFault.TOO_LARGE: ActionAnswer(0x0213, "The data set is too large"),
    RequestFault.DISK_FULL: ActionAnswer(0x0213, "Not recorded: the disk is full or failing"),
    RequestFault.DISK_FLOOR: ActionAnswer(0x0213, "Not recorded: free space is below the limit"),
    RequestFault.DEFECT: ActionAnswer(0x0110, "Not recorded: internal error"),
}


class RequestRefusedError(EgfrDlsError):
    """This storage commitment request is not taken; the requester gets the fault's status."""

    kind = "refused"

    def __init__(self, fault: RequestFault) -> None:
        super().__init__(ACTION_FAULTS[fault].comment)
        self.fault = fault
