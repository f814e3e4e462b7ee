"""What is accepted of a proposal: held against pynetdicom's codecs and its negotiation, and over the network."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    AllTransferSyntaxes,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from listener.status import Abort, Rejection
from listener.upper_layer.errors import ProtocolError
from listener.upper_layer.negotiation import (
    SUPPORTED,
    TRANSFER_SYNTAXES,
    Agreement,
    Result,
    Supported,
    acceptance,
    negotiate,
)
from listener.upper_layer.pdu import HEADER, MAXIMUM_PDU_BYTES
from listener.upper_layer.proposal import APPLICATION_CONTEXT, Proposal, ProposedContext, Roles, read_proposal
from tests.listener.nodes import Node
from tests.listener.wire import request

CT = str(CTImageStorage)
MR = "1.2.840.10008.5.1.4.1.1.4"
COMMITMENT = "1.2.840.10008.1.20.1"
OTHER = "1.2.3.4"
SYNTAXES = [str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian), str(RLELossless), "1.2.3.5"]
ROLES = {
    CT: None,
    MR: Roles(scu=True, scp=False),
    COMMITMENT: Roles(scu=True, scp=True),
    "1.2.840.10008.1.20.2": Roles(scu=False, scp=True),
}
OURS = {uid: Supported(frozenset(SYNTAXES[:3]), roles) for uid, roles in ROLES.items()}


# --- against pynetdicom ---


def proposed(uids: list[str], syntaxes: list[list[str]], roles: dict[str, tuple[bool, bool]]) -> A_ASSOCIATE_RQ:
    """Return pynetdicom's A-ASSOCIATE-RQ with every kind of user information that it knows."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = "SCANNER", "EGFR_DLS"
    contexts = [build_context(uid, some) for uid, some in zip(uids, syntaxes, strict=True)]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    primitive.user_information = [*information(), *(role_item(uid, *role) for uid, role in roles.items())]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu


def information() -> list[object]:
    length, class_uid, version = (
        MaximumLengthNotification(), ImplementationClassUIDNotification(), ImplementationVersionNameNotification()
    )  # fmt: skip
    length.maximum_length_received = 32768
    class_uid.implementation_class_uid = "1.2.3.9"
    version.implementation_version_name = "TESTER"
    window, extended, identity = (
        AsynchronousOperationsWindowNegotiation(), SOPClassExtendedNegotiation(), UserIdentityNegotiation()
    )  # fmt: skip
    window.maximum_number_operations_invoked = 5
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2\0\1"
    identity.user_identity_type, identity.primary_field = 1, b"user"
    return [length, class_uid, version, window, extended, identity]


def role_item(uid: str, scu: bool, scp: bool) -> SCP_SCU_RoleSelectionNegotiation:
    item = SCP_SCU_RoleSelectionNegotiation()
    item.sop_class_uid, item.scu_role, item.scp_role = uid, scu, scp
    return item


def read(pdu: A_ASSOCIATE_RQ) -> Proposal:
    return read_proposal(memoryview(pdu.encode()[HEADER.size :]))


def theirs() -> list[PresentationContext]:
    contexts = [build_context(uid, SYNTAXES[:3]) for uid in OURS]
    for context in contexts:
        if roles := ROLES[str(context.abstract_syntax)]:
            context.scu_role, context.scp_role = roles.scu, roles.scp
    return contexts


CLASSES = st.sampled_from([*OURS, OTHER])
CONTEXTS = st.lists(st.tuples(CLASSES, st.permutations(SYNTAXES).flatmap(lambda p: st.integers(1, 4).map(lambda n: p[:n]))),
                    min_size=1, max_size=12)  # fmt: skip
PROPOSED_ROLES = st.dictionaries(CLASSES, st.sampled_from([(True, True), (True, False), (False, True)]))


@settings(max_examples=200, deadline=None)
@given(contexts=CONTEXTS, roles=PROPOSED_ROLES)
def test_contexts_and_roles_are_decided_as_pynetdicom_decides(
    contexts: list[tuple[str, list[str]]], roles: dict[str, tuple[bool, bool]]
) -> None:
    """Beside one thing: of the transfer syntaxes the caller's first is taken, not ours."""
    pdu = proposed([uid for uid, _ in contexts], [list(some) for _, some in contexts], roles)
    proposal = read(pdu)
    agreement = negotiate(proposal, OURS)
    results, replies = negotiate_as_acceptor(
        pdu.to_primitive().presentation_context_definition_list, theirs(), dict(roles)
    )
    assert [(c.context_id, c.abstract_syntax, int(c.result)) for c in agreement.contexts] == [
        (c.context_id, c.abstract_syntax, c.result) for c in results
    ]
    accepted = {c.context_id: c for c in results if c.result == 0}
    assert {n: (c.requestor.scp, c.requestor.scu) for n, c in agreement.accepted.items()} == {
        n: (c.as_scu, c.as_scp) for n, c in accepted.items()
    }
    assert {uid: (r.scu, r.scp) for uid, r in agreement.roles.items()} == {
        str(r.sop_class_uid): (bool(r.scu_role), bool(r.scp_role)) for r in replies
    }
    for context, (_, syntaxes) in zip(agreement.contexts, contexts, strict=True):
        known = [uid for uid in syntaxes if uid in SYNTAXES[:3]]
        assert (
            context.transfer_syntax == (known or syntaxes)[0] or context.result is Result.ABSTRACT_SYNTAX_NOT_SUPPORTED
        )


@settings(max_examples=50, deadline=None)
@given(contexts=CONTEXTS, roles=PROPOSED_ROLES)
def test_pynetdicom_reads_our_acceptance(
    contexts: list[tuple[str, list[str]]], roles: dict[str, tuple[bool, bool]]
) -> None:
    proposal = read(proposed([uid for uid, _ in contexts], [list(some) for _, some in contexts], roles))
    agreement = negotiate(proposal, OURS)
    pdu = A_ASSOCIATE_AC()
    pdu.decode(acceptance(proposal, agreement))
    answer = pdu.to_primitive()
    assert (answer.called_ae_title, answer.calling_ae_title, answer.result) == ("EGFR_DLS", "SCANNER", 0)
    assert answer.application_context_name == APPLICATION_CONTEXT
    assert answer.maximum_length_received == MAXIMUM_PDU_BYTES
    assert [(c.context_id, c.result) for c in answer.presentation_context_definition_results_list] == [
        (c.context_id, c.result) for c in agreement.contexts
    ]
    assert {
        c.context_id: c.transfer_syntax for c in answer.presentation_context_definition_results_list if not c.result
    } == {n: [c.transfer_syntax] for n, c in agreement.accepted.items()}
    items = [item for item in answer.user_information if isinstance(item, SCP_SCU_RoleSelectionNegotiation)]
    roles_told = {item.sop_class_uid: (item.scu_role, item.scp_role) for item in items}
    assert roles_told == {uid: (r.scu, r.scp) for uid, r in agreement.roles.items()}


def test_a_proposal_is_read_as_it_was_meant() -> None:
    proposal = read(proposed([CT, OTHER], [SYNTAXES[:2], SYNTAXES[3:]], {CT: (True, False)}))
    assert (proposal.calling_ae_title, proposal.called_ae_title) == ("SCANNER", "EGFR_DLS")
    assert proposal.contexts == (ProposedContext(1, CT, tuple(SYNTAXES[:2])), ProposedContext(3, OTHER, (SYNTAXES[3],)))
    assert (proposal.maximum_length, proposal.roles) == (32768, {CT: Roles(scu=True, scp=False)})
    assert proposal.objection() is None


@pytest.mark.parametrize("character", ["\0", "\n", "\x1b", "\x9b"])
def test_an_ae_title_with_control_characters_is_nobodys(character: str) -> None:
    """Not even where any peer is accepted: it would reach the operator's terminal, and NUL no text column of PostgreSQL."""
    proposal = read(proposed([CT], [SYNTAXES], {}))
    titles, bad = proposal.echoed[:32], f"A{character}B".ljust(16).encode("latin-1")
    calling, called = titles[:16] + bad + bytes(32), bad + titles[16:] + bytes(32)
    assert replace(proposal, echoed=calling).objection() is Rejection.CALLING_AE_TITLE
    assert replace(proposal, echoed=called).objection() is Rejection.CALLED_AE_TITLE


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_request_with_any_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever the bytes: a proposal or a ProtocolError, and what is accepted can be answered."""
    body = bytearray(request()[HEADER.size :])
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    try:
        proposal = read_proposal(memoryview(bytes(body[: cut or None])))
    except ProtocolError as error:
        assert error.abort in (Abort.MALFORMED_REQUEST, Abort.TOO_MANY_CONTEXTS)
        return
    answer = acceptance(proposal, negotiate(proposal))
    assert len(answer) == HEADER.size + HEADER.unpack_from(answer)[1]


def test_no_context_may_be_proposed() -> None:
    proposal = read_proposal(memoryview(request(b"")[HEADER.size :]))
    assert negotiate(proposal) == Agreement((), {})


def test_what_no_service_of_ours_is_has_no_line() -> None:
    assert COMMITMENT in SUPPORTED or OTHER not in SUPPORTED
    assert {len(supported.transfer_syntaxes) for uid, supported in SUPPORTED.items() if uid != COMMITMENT} == {
        len(TRANSFER_SYNTAXES)
    }


# --- over the network ---


def test_every_storage_class_and_transfer_syntax_is_accepted(node: Node) -> None:
    syntaxes = sorted(TRANSFER_SYNTAXES)
    classes = [str(c.abstract_syntax) for c in AllStoragePresentationContexts]
    proposals = [[build_context(uid, syntaxes) for uid in some] for some in (classes[:128], classes[128:])]
    proposals.append([build_context(classes[0], syntax) for syntax in syntaxes])
    for contexts in proposals:
        ae = AE("SCANNER")
        ae.requested_contexts = contexts
        assoc = ae.associate("127.0.0.1", node.port, ae_title="EGFR_DLS")
        assert len(assoc.accepted_contexts) == len(contexts)
        assoc.release()
    assert len(TRANSFER_SYNTAXES) == len(AllTransferSyntaxes) - 5


def test_a_class_that_is_no_storage_class_is_not_accepted_beside_one_that_is(node: Node) -> None:
    ae = AE("SCANNER")
    ae.requested_contexts = [build_context("1.2.840.10008.5.1.4.1.2.2.1"), build_context("1.2.3.4"), build_context(CT)]
    assoc = ae.associate("127.0.0.1", node.port, ae_title="EGFR_DLS")
    assert [c.abstract_syntax for c in assoc.accepted_contexts] == [CT]
    assert [c.result for c in assoc.rejected_contexts] == [3, 3]  # abstract-syntax-not-supported (PS3.8 table 9-18)
    assoc.release()


def test_the_callers_first_transfer_syntax_wins(node: Node) -> None:
    """What a sender proposes first is what it holds; it need not convert."""
    ae = AE("SCANNER")
    ae.add_requested_context(CT, [RLELossless, ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    assoc = ae.associate("127.0.0.1", node.port, ae_title="EGFR_DLS")
    assert assoc.accepted_contexts[0].transfer_syntax == [RLELossless]
    assoc.release()
