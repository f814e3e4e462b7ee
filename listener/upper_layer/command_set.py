"""DIMSE command sets: elements of group 0000 in implicit VR little endian (PS3.7 6.3.1 and Annex E)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum

from listener.status import Abort
from listener.upper_layer.errors import ProtocolError

MAXIMUM_COMMAND_BYTES = 1 << 16
NO_DATA_SET = 0x0101  # Command Data Set Type (0000,0800): none follows (PS3.7 E.1)
RESPONSE = 0x8000  # bit of the Command Field that makes a request's its response's (PS3.7 E.1)

_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")
_GROUP_LENGTH = struct.Struct("<HHII")
# Command Field, Message ID Being Responded To, Command Data Set Type, Status: in every response, one behind the other
_RESPONSE = struct.Struct("<HHIHHHIHHHIHHHIH")


class Tag(IntEnum):
    """Element numbers in group 0000 (PS3.7 table E.1-1)."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008


class Command(IntEnum):
    """Command Field (0000,0100) of the requests that are handled, and of one response (PS3.7 table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130
    C_CANCEL_RQ = 0x0FFF
    N_EVENT_REPORT_RSP = 0x8100


# A UID of the request -> the element of the response that repeats it (PS3.7 9.3, 10.3)
_REPEATED_CLASS = (Tag.AFFECTED_SOP_CLASS_UID, Tag.REQUESTED_SOP_CLASS_UID)
_REPEATED_INSTANCE = (Tag.AFFECTED_SOP_INSTANCE_UID, Tag.REQUESTED_SOP_INSTANCE_UID)
_LONGEST_UID = 64


class CommandSet:
    """A received command set; ``elements`` are the values as they came, by element number."""

    __slots__ = ("elements", "field", "has_data_set", "message_id")

    def __init__(self, elements: Mapping[int, bytes]) -> None:
        """Take what every command set must say.

        Raises
        ------
        ProtocolError
            ``MALFORMED_COMMAND``: Command Field, Command Data Set Type or the message's ID is missing
        """
        self.elements = elements
        self.field = self._needed(Tag.COMMAND_FIELD)
        self.has_data_set = self._needed(Tag.DATA_SET_TYPE) != NO_DATA_SET
        answers = self.field & RESPONSE or self.field == Command.C_CANCEL_RQ
        self.message_id = self._needed(Tag.MESSAGE_ID_BEING_RESPONDED_TO if answers else Tag.MESSAGE_ID)

    def number(self, tag: Tag) -> int | None:
        """Return a US value, None if it is absent or no US."""
        value = self.elements.get(tag, b"")
        return int(_US.unpack(value)[0]) if len(value) == _US.size else None

    def uid(self, tag: Tag) -> str:
        """Return a UI value without padding, empty if it is absent; its form is not checked."""
        return self.elements.get(tag, b"").decode("latin-1").rstrip("\0 ")

    def _needed(self, tag: Tag) -> int:
        value = self.elements.get(tag, b"")
        if len(value) != 2:
            raise ProtocolError(Abort.MALFORMED_COMMAND)
        return value[0] | value[1] << 8


def read_command(encoded: bytes) -> CommandSet:
    """Read a command set. Its group length (0000,0000) is not needed, and not believed.

    Raises
    ------
    ProtocolError
        ``MALFORMED_COMMAND``: it ends inside an element, has one twice, of another group, or lacks one that is needed
    """
    elements: dict[int, bytes] = {}
    at, end = 0, len(encoded)
    while at < end:
        if end - at < 8:
            raise ProtocolError(Abort.MALFORMED_COMMAND)
        group, element, length = _ELEMENT.unpack_from(encoded, at)
        at += 8
        if group or length > end - at or element in elements:
            raise ProtocolError(Abort.MALFORMED_COMMAND)
        elements[element] = encoded[at : at + length]
        at += length
    return CommandSet(elements)


def write_command(elements: Mapping[int, int | str]) -> bytes:
    """Encode a command set: numbers as US, strings as UI; the group length is added."""
    body = b"".join(_element(tag, _value(elements[tag])) for tag in sorted(elements))
    return _with_group_length(body)


def write_response(request: CommandSet, status: int, comment: str = "", *, data_set_type: int = NO_DATA_SET) -> bytes:
    """Encode the response to a request, with its UIDs where they have a UID's length.

    Parameters
    ----------
    comment
        Error Comment (0000,0902), at most 64 characters; left out if empty
    """
    middle = _RESPONSE.pack(
        *(0, Tag.COMMAND_FIELD, 2, request.field | RESPONSE),
        *(0, Tag.MESSAGE_ID_BEING_RESPONDED_TO, 2, request.message_id),
        *(0, Tag.DATA_SET_TYPE, 2, data_set_type),
        *(0, Tag.STATUS, 2, status),
    )
    body = _repeated(request, _REPEATED_CLASS) + middle
    if comment:
        body += _element(Tag.ERROR_COMMENT, _even(comment.encode("ascii"), b" "))
    return _with_group_length(body + _repeated(request, _REPEATED_INSTANCE))


def _repeated(request: CommandSet, tags: tuple[Tag, Tag]) -> bytes:
    value = request.elements.get(tags[0]) or request.elements.get(tags[1])
    return _element(tags[0], _even(value, b"\0")) if value and len(value) <= _LONGEST_UID else b""


def _value(value: int | str) -> bytes:
    return _US.pack(value) if isinstance(value, int) else _even(value.encode("ascii"), b"\0")


def _element(tag: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, tag, len(value)) + value


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) & 1 else value


def _with_group_length(body: bytes) -> bytes:
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body
