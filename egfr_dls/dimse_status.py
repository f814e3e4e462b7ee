"""The one table of C-STORE statuses: what we answer a sender and what a PACS answers us, each with its clause.

Which clause is 0110H, and what is it called? ``StoreStatus.PROCESSING_FAILURE``: its ``meaning`` and ``clause``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class StoreStatus(IntEnum):
    """Status (0000,0900) of a C-STORE-RSP (PS3.4 table B.2-1; PS3.7 9.1.1.1.9 and Annex C).

    Of a class (A7xx, A9xx, Cxxx) the first value, which is the one that we send.
    """

    meaning: str
    clause: str

    def __new__(cls, code: int, meaning: str, clause: str) -> Self:
        """Make the member whose value is the code alone."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.clause = clause
        return member

    SUCCESS = 0x0000, "Success", "PS3.7 C.1.1"
    PROCESSING_FAILURE = 0x0110, "Processing failure", "PS3.7 C.5.21"
    DUPLICATE_SOP_INSTANCE = 0x0111, "Duplicate SOP Instance", "PS3.7 C.5.8"
    INVALID_SOP_INSTANCE = 0x0117, "Invalid SOP Instance", "PS3.7 C.5.12"
    SOP_CLASS_NOT_SUPPORTED = 0x0122, "Refused: SOP Class not supported", "PS3.7 C.5.6"
    NOT_AUTHORISED = 0x0124, "Refused: Not authorized", "PS3.7 C.5.25"
    DUPLICATE_INVOCATION = 0x0210, "Duplicate invocation", "PS3.7 C.5.9"
    UNRECOGNISED_OPERATION = 0x0211, "Unrecognized operation", "PS3.7 C.5.23"
    MISTYPED_ARGUMENT = 0x0212, "Mistyped argument", "PS3.7 C.5.15"
    RESOURCE_LIMITATION = 0x0213, "Resource limitation", "PS3.7 C.5.22"
    OUT_OF_RESOURCES = 0xA700, "Refused: Out of resources", "PS3.4 B.2.3"
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900, "Data Set does not match SOP Class", "PS3.4 B.2.3"
    CANNOT_UNDERSTAND = 0xC000, "Cannot understand", "PS3.4 B.2.3"
    COERCION_OF_DATA_ELEMENTS = 0xB000, "Coercion of Data Elements", "PS3.4 B.2.3"
    ELEMENTS_DISCARDED = 0xB006, "Elements discarded", "PS3.4 B.2.3"
    MATCHES_SOP_CLASS_IN_PART = 0xB007, "Data Set does not match SOP Class (warning)", "PS3.4 B.2.3"
