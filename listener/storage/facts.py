"""The facts of a received data set: which instance it is, read from its bytes as they came.

Nothing is decoded and nothing is encoded again. No string of the sender becomes part of a path: UIDs are checked for
their form, the modality for its characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from listener.status import Fault, InstanceRefusedError
from listener.storage.dataset import scanner

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MODALITY = 0x00080060
PATIENT_ID = 0x00100020
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
FRAME_OF_REFERENCE_UID = 0x00200052

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")  # PS3.5 9.1
_UID_CHARACTERS = re.compile(r"[0-9.]{1,64}")
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")  # PS3.5 table 6.2-1, CS
_MISSING: dict[int, Fault] = {
    SOP_CLASS_UID: Fault.NO_SOP_UID,
    SOP_INSTANCE_UID: Fault.NO_SOP_UID,
    STUDY_INSTANCE_UID: Fault.NO_STUDY_UID,
    SERIES_INSTANCE_UID: Fault.NO_SERIES_UID,
}
_WANTED = frozenset({*_MISSING, MODALITY, PATIENT_ID, FRAME_OF_REFERENCE_UID})


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What a data set says of itself.

    ``modality`` is empty where (0008,0060) is absent or no code string, ``frame_of_reference_uid`` where (0020,0052) is absent;
    the latter is compared only: one with a leading zero in a component still pairs its series. So is ``patient_id``, which is
    (0010,0020) in bytes of whatever character set, and never printed.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    frame_of_reference_uid: str
    patient_id: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """What the C-STORE-RQ and its presentation context say (PS3.7 9.3.1.1)."""

    sop_class_uid: str  # Affected SOP Class UID (0000,0002)
    sop_instance_uid: str  # Affected SOP Instance UID (0000,1000)
    context_sop_class_uid: str  # abstract syntax of the presentation context
    transfer_syntax_uid: str

    def check(self) -> None:
        """Check what can be checked before the data set arrives.

        Raises
        ------
        InstanceRefusedError
            CONTEXT_MISMATCH, UID_FORM
        """
        if self.sop_class_uid != self.context_sop_class_uid:
            raise InstanceRefusedError(Fault.CONTEXT_MISMATCH)
        if not is_uid(self.sop_instance_uid):
            raise InstanceRefusedError(Fault.UID_FORM)


class FactsReader:
    """Reads and checks a data set from its first byte to its last while it arrives; see ``dataset.Scanner``.

    The fault of an InstanceRefusedError decides the status that the sender gets (``listener.status``).
    """

    def __init__(self, command: StoreCommand) -> None:
        self._command = command
        self._scanner = scanner(command.transfer_syntax_uid, _WANTED)

    def feed(self, data: memoryview) -> None:
        """Take the next bytes, cut anywhere; raises InstanceRefusedError."""
        self._scanner.feed(data)

    def finish(self) -> InstanceFacts:
        """Return the facts of the data set, which ends here; raises InstanceRefusedError."""
        values = {tag: value.decode("latin-1").strip(" \0") for tag, value in self._scanner.finish().items()}
        sop_class, sop_instance, study, series = (_uid(values, tag) for tag in _MISSING)
        if sop_instance != self._command.sop_instance_uid:
            raise InstanceRefusedError(Fault.INSTANCE_MISMATCH)
        if sop_class != self._command.sop_class_uid:
            raise InstanceRefusedError(Fault.CLASS_MISMATCH)
        modality, frame = values.get(MODALITY, ""), values.get(FRAME_OF_REFERENCE_UID, "")
        return InstanceFacts(
            sop_class,
            sop_instance,
            study,
            series,
            modality if _CODE_STRING.fullmatch(modality) else "",
            frame if _UID_CHARACTERS.fullmatch(frame) else "",
            values.get(PATIENT_ID, ""),
        )


def is_uid(text: str) -> bool:
    """Whether a string has the form of a UID (PS3.5 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _uid(values: dict[int, str], tag: int) -> str:
    uid = values.get(tag, "")
    if not uid:
        raise InstanceRefusedError(_MISSING[tag])
    if not is_uid(uid):
        raise InstanceRefusedError(Fault.UID_FORM)
    return uid
