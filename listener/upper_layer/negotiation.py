"""What we support, and what of a proposal is accepted: the A-ASSOCIATE-AC (PS3.8 9.3.3, PS3.7 D.3.3)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from egfr_dls.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from listener.commitment.status import PUSH_MODEL_CLASS
from listener.registry import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
)
from listener.upper_layer.pdu import HEADER, MAXIMUM_PDU_BYTES, PduType
from listener.upper_layer.proposal import APPLICATION_CONTEXT, Item, Proposal, ProposedContext, Roles

VERIFICATION = "1.2.840.10008.1.1"
LITTLE_ENDIAN = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN})


@dataclass(frozen=True, slots=True)
class Supported:
    """What we take of an abstract syntax; ``roles`` that its requestor may choose, None: it is SCU, not to be discussed."""

    transfer_syntaxes: frozenset[str] = TRANSFER_SYNTAXES
    roles: Roles | None = None


SUPPORTED: dict[str, Supported] = {
    VERIFICATION: Supported(),
    PUSH_MODEL_CLASS: Supported(LITTLE_ENDIAN, Roles(scu=True, scp=True)),  # SCP: it reports on what we asked for
    **dict.fromkeys(STORAGE_SOP_CLASSES, Supported()),
}


class Result(IntEnum):
    """Result of a presentation context (PS3.8 table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that is decided; ``requestor``: the roles that the peer has in it, ours are the others."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str  # of a refused one the first proposed, not significant
    result: Result
    requestor: Roles


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is answered: every context, and the roles by SOP class where some were proposed and may be chosen."""

    contexts: tuple[Context, ...]
    roles: dict[str, Roles]

    @property
    def accepted(self) -> dict[int, Context]:
        """The accepted contexts by their ID."""
        return {context.context_id: context for context in self.contexts if context.result is Result.ACCEPTANCE}


def negotiate(proposal: Proposal, supported: Mapping[str, Supported] = SUPPORTED) -> Agreement:
    """Decide on each context: of its transfer syntaxes the first that we know, for what a caller names first is what it holds."""
    contexts = tuple(_decide(context, proposal.roles, supported) for context in proposal.contexts)
    chosen = {
        context.abstract_syntax: context.requestor
        for context in contexts
        if context.result is Result.ACCEPTANCE
        and context.abstract_syntax in proposal.roles
        and supported[context.abstract_syntax].roles is not None
    }
    return Agreement(contexts, chosen)


def _decide(context: ProposedContext, proposed: Mapping[str, Roles], supported: Mapping[str, Supported]) -> Context:
    ours = supported.get(context.abstract_syntax)
    known = [] if ours is None else [uid for uid in context.transfer_syntaxes if uid in ours.transfer_syntaxes]
    roles = _roles(proposed.get(context.abstract_syntax), None if ours is None else ours.roles)
    if ours is None:
        result = Result.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif not known:
        result = Result.TRANSFER_SYNTAXES_NOT_SUPPORTED
    elif not (roles.scu or roles.scp):
        result = Result.USER_REJECTION
    else:
        result = Result.ACCEPTANCE
    syntax = (known or context.transfer_syntaxes)[0]
    return Context(context.context_id, context.abstract_syntax, syntax, result, roles)


def _roles(proposed: Roles | None, ours: Roles | None) -> Roles:
    """Return the requestor's roles: those that it proposes and we allow; by default it is the SCU (PS3.7 D.3.3.4)."""
    if proposed is None or ours is None:
        return Roles(scu=True, scp=False)
    return Roles(proposed.scu and ours.scu, proposed.scp and ours.scp)


def acceptance(proposal: Proposal, agreement: Agreement) -> bytes:
    """Encode the A-ASSOCIATE-AC. Asynchronous operations, user identity and extended negotiation are not answered,
    which means one operation at a time, no check and the SOP class's defaults (PS3.7 D.3.3.3, D.3.3.5, D.3.3.7).
    """
    body = b"".join(
        (
            struct.pack(">Hxx64s", 1, proposal.echoed),
            _item(Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode()),
            *(_context_item(context) for context in agreement.contexts),
            _item(Item.USER_INFORMATION, _user_information(agreement)),
        )
    )
    return HEADER.pack(PduType.ASSOCIATE_AC, len(body)) + body


def _context_item(context: Context) -> bytes:
    head = struct.pack(">BxBx", context.context_id, context.result)
    return _item(Item.CONTEXT_AC, head + _item(Item.TRANSFER_SYNTAX, context.transfer_syntax.encode("ascii")))


def _user_information(agreement: Agreement) -> bytes:
    return b"".join(
        (
            _item(Item.MAXIMUM_LENGTH, struct.pack(">I", MAXIMUM_PDU_BYTES)),
            _item(Item.IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID.encode()),
            *(_role_item(sop_class, roles) for sop_class, roles in agreement.roles.items()),
            _item(Item.IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION_NAME.encode()),
        )
    )


def _role_item(sop_class: str, roles: Roles) -> bytes:
    uid = sop_class.encode("ascii")
    return _item(Item.ROLE_SELECTION, struct.pack(">H", len(uid)) + uid + struct.pack(">BB", roles.scu, roles.scp))


def _item(kind: Item, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content
