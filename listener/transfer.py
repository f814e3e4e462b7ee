"""The facts of a received data set: which instance it is, read from its bytes as they came.

Nothing is decoded and nothing is encoded again. No string of the sender becomes part of a path: UIDs are checked for
their form, the modality for its characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from listener.dataset import Element, elements, encoding_of, plain
from listener.status import Fault, InstanceRefusedError

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MODALITY = 0x00080060
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


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What a data set says of itself; ``modality`` is empty where (0008,0060) is absent or no code string."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """What the C-STORE-RQ and its presentation context say (PS3.7 9.3.1.1)."""

    sop_class_uid: str  # Affected SOP Class UID (0000,0002)
    sop_instance_uid: str  # Affected SOP Instance UID (0000,1000)
    context_sop_class_uid: str  # abstract syntax of the presentation context
    transfer_syntax_uid: str


def read_facts(data: bytes, command: StoreCommand) -> InstanceFacts:
    """Read and check a data set as received, from its first byte to its last.

    Raises
    ------
    InstanceRefusedError
        the fault decides the status that the sender gets (``listener.status``)
    """
    if command.sop_class_uid != command.context_sop_class_uid:
        raise InstanceRefusedError(Fault.CONTEXT_MISMATCH)
    body = plain(data, command.transfer_syntax_uid)
    values = _values(body, elements(body, encoding_of(command.transfer_syntax_uid)), {*_MISSING, MODALITY})
    sop_class, sop_instance, study, series = (_uid(values, tag) for tag in _MISSING)
    if sop_instance != command.sop_instance_uid:
        raise InstanceRefusedError(Fault.INSTANCE_MISMATCH)
    if sop_class != command.sop_class_uid:
        raise InstanceRefusedError(Fault.CLASS_MISMATCH)
    modality = values.get(MODALITY, "")
    return InstanceFacts(
        sop_class, sop_instance, study, series, modality if _CODE_STRING.fullmatch(modality) else ""
    )  # fmt: skip


def frame_of_reference_uid(data: bytes, transfer_syntax_uid: str) -> str:
    """Return the Frame of Reference UID (0020,0052) of a data set that was accepted before; empty if it has none."""
    body = plain(data, transfer_syntax_uid)
    found = _values(body, elements(body, encoding_of(transfer_syntax_uid)), {FRAME_OF_REFERENCE_UID})
    uid = found.get(FRAME_OF_REFERENCE_UID, "")
    return uid if _UID_CHARACTERS.fullmatch(uid) else ""  # compared only: a component with a leading zero still pairs


def is_uid(text: str) -> bool:
    """Whether a string has the form of a UID (PS3.5 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _values(data: bytes, found: Iterable[Element], wanted: set[int]) -> dict[int, str]:
    return {
        e.tag: data[e.start : e.start + min(e.length, 128)].decode("latin-1").strip(" \0")
        for e in found
        if e.tag in wanted and e.length is not None
    }


def _uid(values: dict[int, str], tag: int) -> str:
    uid = values.get(tag, "")
    if not uid:
        raise InstanceRefusedError(_MISSING[tag])
    if not is_uid(uid):
        raise InstanceRefusedError(Fault.UID_FORM)
    return uid
