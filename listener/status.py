"""What a sender is told: a C-STORE status for each fault, and A-ASSOCIATE-RJ reasons with their clause.

What does a full disk give the scanner? ``FAULTS[Fault.DISK_FULL]``: A700H, Refused: Out of Resources.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from egfr_dls.dimse_status import StoreStatus
from egfr_dls.errors import EgfrDlsError


class Fault(StrEnum):
    """Why an instance is not taken; also the ``reason`` of the log event ``instance_refused``."""

    DISK_FULL = "disk_full"
    DISK_FLOOR = "disk_floor"
    NO_STUDY_UID = "no_study_uid"
    NO_SERIES_UID = "no_series_uid"
    NO_SOP_UID = "no_sop_uid"
    UID_FORM = "uid_form"
    INSTANCE_MISMATCH = "instance_mismatch"
    CLASS_MISMATCH = "class_mismatch"
    CONTEXT_MISMATCH = "context_mismatch"
    CUT_SHORT = "cut_short"
    MALFORMED = "malformed"
    NESTED_TOO_DEEP = "nested_too_deep"
    TOO_MANY_ELEMENTS = "too_many_elements"
    INFLATED_TOO_LARGE = "inflated_too_large"
    DEFECT = "defect"


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of a C-STORE-RSP and its Error Comment (0000,0902), LO: at most 64 characters, never a header value."""

    status: StoreStatus
    comment: str = ""


SUCCESS = Answer(StoreStatus.SUCCESS)

_RESOURCES, _MISMATCH = StoreStatus.OUT_OF_RESOURCES, StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
_UNREADABLE = StoreStatus.CANNOT_UNDERSTAND

FAULTS: dict[Fault, Answer] = {
    # A7xx: the sender may try again later; A9xx and Cxxx: it must not repeat the instance unchanged (PS3.4 B.2.3)
    Fault.DISK_FULL: Answer(_RESOURCES, "Not stored: the disk is full or failing"),
    Fault.DISK_FLOOR: Answer(_RESOURCES, "Not stored: free space is below the limit"),
    Fault.NO_STUDY_UID: Answer(_MISMATCH, "No Study Instance UID (0020,000D)"),
    Fault.NO_SERIES_UID: Answer(_MISMATCH, "No Series Instance UID (0020,000E)"),
    Fault.NO_SOP_UID: Answer(_MISMATCH, "No SOP Class or Instance UID (0008,0016), (0008,0018)"),
    Fault.UID_FORM: Answer(_MISMATCH, "A UID is not of the form of PS3.5 9.1"),
    Fault.INSTANCE_MISMATCH: Answer(_MISMATCH, "(0008,0018) differs from the command's (0000,1000)"),
    Fault.CLASS_MISMATCH: Answer(_MISMATCH, "(0008,0016) differs from the command's (0000,0002)"),
    Fault.CONTEXT_MISMATCH: Answer(StoreStatus.SOP_CLASS_NOT_SUPPORTED, "(0000,0002) is not the context's class"),
    Fault.CUT_SHORT: Answer(_UNREADABLE, "The data set ends inside an element"),
    Fault.MALFORMED: Answer(_UNREADABLE, "The data set is not encoded as negotiated"),
    Fault.NESTED_TOO_DEEP: Answer(_UNREADABLE, "Sequences are nested too deep"),
    Fault.TOO_MANY_ELEMENTS: Answer(_UNREADABLE, "The data set has too many elements"),
    Fault.INFLATED_TOO_LARGE: Answer(_UNREADABLE, "The inflated data set is too large"),
    Fault.DEFECT: Answer(StoreStatus.PROCESSING_FAILURE, "Not stored: internal error"),
}


class InstanceRefusedError(EgfrDlsError):
    """This instance is not taken; the sender gets the fault's status and must send another (or later)."""

    kind = "refused"

    def __init__(self, fault: Fault) -> None:
        super().__init__(FAULTS[fault].comment)
        self.fault = fault


class Rejection(Enum):
    """Why an association is rejected: log reason; Result, Source and Reason/Diag. of the A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    CALLING_AE_TITLE = ("calling_ae_title", 1, 1, 3)  # permanent; service user: calling-AE-title-not-recognized
    PEER_UNRESOLVED = ("peer_unresolved", 2, 1, 1)  # transient; service user: no-reason-given, for no limit is exceeded
    CERTIFICATE = ("certificate", 1, 1, 3)  # the same: by a certificate that is not that AE title's, or by none
    CALLED_AE_TITLE = ("called_ae_title", 1, 1, 7)  # permanent; service user: called-AE-title-not-recognized
    TOO_MANY = ("too_many", 2, 3, 2)  # transient; service provider, presentation: local-limit-exceeded
    TOO_MANY_OF_PEER = ("too_many_of_peer", 2, 3, 2)
    DISK_FLOOR = ("disk_floor", 2, 3, 2)
    DEFECT = ("defect", 2, 1, 1)  # transient; service user: no-reason-given
    APPLICATION_CONTEXT = ("application_context", 1, 1, 2)  # permanent: application-context-name-not-supported
    PROTOCOL_VERSION = ("protocol_version", 1, 2, 2)  # permanent; provider, ACSE: protocol-version-not-supported

    @property
    def reason(self) -> str:
        """The ``reason`` of the log event ``association_rejected``."""
        return self.value[0]

    @property
    def codes(self) -> tuple[int, int, int]:
        """Result, Source, Reason/Diag."""
        return self.value[1:]


class Abort(Enum):
    """Why we abort: log reason; Source and Reason/Diag. of the A-ABORT (PS3.8 table 9-26).

    Source 2 is the upper layer itself. What only a layer above it can see (DIMSE, PS3.7) or wants has source 0, the service
    user, whose reason is not significant.
    """

    UNRECOGNISED_PDU = ("unrecognised_pdu", 2, 1)  # unrecognized-PDU
    UNEXPECTED_PDU = ("unexpected_pdu", 2, 2)  # unexpected-PDU
    FRAGMENT_ORDER = ("fragment_order", 2, 5)  # unexpected-PDU parameter: two messages mixed, data before command
    PDU_LENGTH = ("pdu_length", 2, 6)  # invalid-PDU-parameter value: over our maximum, or not the type's
    VALUE_LENGTH = ("value_length", 2, 6)  # a presentation data value that does not fit its PDU
    UNKNOWN_CONTEXT = ("unknown_context", 2, 6)
    MALFORMED_REQUEST = ("malformed_request", 2, 6)  # an A-ASSOCIATE-RQ that cannot be read
    TOO_MANY_CONTEXTS = ("too_many_contexts", 2, 6)  # identifiers are the odd numbers of a byte: 128 (PS3.8 9.3.2.2)
    COMMAND_TOO_LARGE = ("command_too_large", 0, 0)
    MALFORMED_COMMAND = ("malformed_command", 0, 0)
    UNEXPECTED_RESPONSE = ("unexpected_response", 0, 0)  # to a request that we never sent
    OBJECT_TOO_LARGE = ("object_too_large", 0, 0)
    MESSAGE_TOO_LARGE = ("message_too_large", 0, 0)
    IDLE = ("idle", 0, 0)
    DRAINED = ("drained", 0, 0)
    DEFECT = ("defect", 2, 0)  # reason-not-specified

    @property
    def reason(self) -> str:
        """The ``reason`` of the log event ``association_aborted``."""
        return self.value[0]

    @property
    def codes(self) -> tuple[int, int]:
        """Source, Reason/Diag."""
        return self.value[1:]
