"""What a caller proposes: the A-ASSOCIATE-RQ PDU read with bounds (PS3.8 9.3.2 and Annex D, PS3.7 Annex D.3.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from listener.status import Abort, Rejection
from listener.upper_layer.errors import ProtocolError

MAXIMUM_REQUEST_BYTES = 1 << 20
MAXIMUM_CONTEXTS = 128
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # the DICOM application context (PS3.7 A.2.1)

_FIXED = struct.Struct(
    ">Hxx64s"
)  # protocol version; called and calling AE title and 32 reserved bytes, which are echoed
_ITEM = struct.Struct(">BxH")
_MAXIMUM_LENGTH = struct.Struct(">I")
_ROLE = struct.Struct(">BB")


class Item(IntEnum):
    """Types of the variable items and their sub-items."""

    APPLICATION_CONTEXT = 0x10  # PS3.8 9.3.2.1
    CONTEXT_RQ = 0x20  # PS3.8 9.3.2.2
    CONTEXT_AC = 0x21  # PS3.8 9.3.3.2
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50  # PS3.8 9.3.2.3
    MAXIMUM_LENGTH = 0x51  # PS3.8 D.1
    IMPLEMENTATION_CLASS_UID = 0x52  # PS3.7 D.3.3.2
    ROLE_SELECTION = 0x54  # PS3.7 D.3.3.4
    IMPLEMENTATION_VERSION_NAME = 0x55


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles that the requestor of an association may have (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed; the transfer syntaxes in the caller's order."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """An A-ASSOCIATE-RQ.

    ``echoed``: the 64 bytes of both AE titles and the reserved field. ``maximum_length``: of a P-DATA-TF that the caller
    takes, 0 without limit. ``roles``: by SOP class.
    """

    protocol_version: int
    echoed: bytes
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int = 0
    roles: dict[str, Roles] = field(default_factory=dict)

    @property
    def called_ae_title(self) -> str:
        """Called AE title without padding."""
        return _title(self.echoed[:16])

    @property
    def calling_ae_title(self) -> str:
        """Calling AE title without padding."""
        return _title(self.echoed[16:32])

    def objection(self) -> Rejection | None:
        """Return why no DICOM node could accept this (PS3.8 9.3.4), None if one could."""
        if not self.protocol_version & 1:
            return Rejection.PROTOCOL_VERSION
        if self.application_context != APPLICATION_CONTEXT:
            return Rejection.APPLICATION_CONTEXT
        for title, rejection in (
            (self.calling_ae_title, Rejection.CALLING_AE_TITLE),
            (self.called_ae_title, Rejection.CALLED_AE_TITLE),
        ):
            if (
                not title.isprintable()
            ):  # an AE title has no control characters (PS3.5 table 6.2-1); it is stored and shown
                return rejection
        return None


def read_proposal(body: memoryview) -> Proposal:
    """Read an A-ASSOCIATE-RQ without its header of 6 bytes. Items of unknown type are skipped (PS3.8 9.3.1).

    Raises
    ------
    ProtocolError
        ``MALFORMED_REQUEST`` or ``TOO_MANY_CONTEXTS``
    """
    if len(body) < _FIXED.size:
        raise ProtocolError(Abort.MALFORMED_REQUEST)
    version, echoed = _FIXED.unpack_from(body)
    application, user = "", body[:0]
    contexts: dict[int, ProposedContext] = {}
    for kind, content in _items(body[_FIXED.size :]):
        if kind == Item.APPLICATION_CONTEXT:
            application = _uid(content)
        elif kind == Item.CONTEXT_RQ:
            _add(contexts, _context(content))
        elif kind == Item.USER_INFORMATION:
            user = content
    maximum_length, roles = _user_information(user)
    return Proposal(version, echoed, application, tuple(contexts.values()), maximum_length, roles)


def _add(contexts: dict[int, ProposedContext], context: ProposedContext) -> None:
    if len(contexts) == MAXIMUM_CONTEXTS:
        raise ProtocolError(Abort.TOO_MANY_CONTEXTS)
    if context.context_id in contexts or not context.context_id & 1:
        raise ProtocolError(Abort.MALFORMED_REQUEST)
    contexts[context.context_id] = context


def _context(content: memoryview) -> ProposedContext:
    if len(content) < 4:
        raise ProtocolError(Abort.MALFORMED_REQUEST)
    abstract: list[str] = []
    transfer: list[str] = []
    for kind, value in _items(content[4:]):
        if kind == Item.ABSTRACT_SYNTAX:
            abstract.append(_uid(value))
        elif kind == Item.TRANSFER_SYNTAX:
            transfer.append(_uid(value))
    if len(abstract) != 1 or not transfer:
        raise ProtocolError(Abort.MALFORMED_REQUEST)
    return ProposedContext(content[0], abstract[0], tuple(transfer))


def _user_information(content: memoryview) -> tuple[int, dict[str, Roles]]:
    maximum_length = 0
    roles: dict[str, Roles] = {}
    for kind, value in _items(content):
        if kind == Item.MAXIMUM_LENGTH:
            maximum_length = _maximum_length(value)
        elif kind == Item.ROLE_SELECTION:
            sop_class, proposed = _role_selection(value)
            roles[sop_class] = proposed
    return maximum_length, roles


def _maximum_length(value: memoryview) -> int:
    if len(value) != _MAXIMUM_LENGTH.size:
        raise ProtocolError(Abort.MALFORMED_REQUEST)
    return int(_MAXIMUM_LENGTH.unpack(value)[0])


def _role_selection(value: memoryview) -> tuple[str, Roles]:
    length = int.from_bytes(value[:2], "big")  # of the UID, which the two roles follow
    if len(value) != 2 + length + _ROLE.size:
        raise ProtocolError(Abort.MALFORMED_REQUEST)
    scu, scp = _ROLE.unpack_from(value, 2 + length)
    return _uid(value[2 : 2 + length]), Roles(scu == 1, scp == 1)


def _items(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(content):
        start = at + _ITEM.size
        if start > len(content):
            raise ProtocolError(Abort.MALFORMED_REQUEST)
        kind, length = _ITEM.unpack_from(content, at)
        at = start + length
        if at > len(content):
            raise ProtocolError(Abort.MALFORMED_REQUEST)
        yield kind, content[start:at]


def _uid(value: memoryview) -> str:
    try:
        return str(value, "ascii").rstrip("\0 ")
    except UnicodeDecodeError as error:
        raise ProtocolError(Abort.MALFORMED_REQUEST) from error


def _title(padded: bytes) -> str:
    return padded.decode("latin-1").strip("\0 ")
