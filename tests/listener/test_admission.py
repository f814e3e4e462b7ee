"""Who may send, without a network."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings_sections import Listener, ListenerTls, Peer
from listener.admission import (
    RESOLVE_AGAIN_SECONDS,
    RESOLVE_RETRY_SECONDS,
    Accepted,
    Admission,
    AssociationRequest,
    PeerTable,
)
from listener.status import Rejection


def peers(*pairs: tuple[str, str]) -> tuple[Peer, ...]:
    return tuple(Peer(ae_title=title, host=host) for title, host in pairs)


@pytest.mark.parametrize(
    ("host", "address", "known"),
    [
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("10.0.0.0/24", "10.0.0.77", True),
        ("10.0.0.9/24", "10.0.0.77", True),
        ("10.0.0.0/24", "10.0.1.77", False),
        ("10.0.0.5", "::ffff:10.0.0.5", True),
        ("fe80::1", "fe80::1%eth0", True),
        ("2001:db8::/32", "2001:db8::5", True),
        ("2001:db8::/32", "10.0.0.5", False),
        ("localhost", "127.0.0.1", True),
        ("no-such-host.invalid", "127.0.0.1", False),
    ],
)
def test_hosts_are_addresses_networks_or_names(host: str, address: str, known: bool) -> None:
    table = PeerTable(peers(("SCANNER", host)))
    assert table.knows("SCANNER", address) is known
    assert not table.knows("OTHER", address)


def test_an_ae_title_belongs_to_its_own_host() -> None:
    table = PeerTable(peers(("A", "10.0.0.1"), ("B", "10.0.0.2")))
    assert table.knows("A", "10.0.0.1")
    assert not table.knows("A", "10.0.0.2")


@pytest.mark.parametrize("host", ["10.0.0.0/99", "a/b", ""])
def test_a_host_that_is_none_stops_the_start(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"listener\.peers\.host"):
        PeerTable(peers(("SCANNER", host)))


def test_names_are_looked_up_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [["10.0.0.1"], ["10.0.0.2"]]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(0, 0, 0, "", (a, 0)) for a in answers.pop(0)])
    now = [0.0]
    table = PeerTable(peers(("SCANNER", "scanner.example")), clock=lambda: now[0])
    assert table.knows("SCANNER", "10.0.0.1")
    now[0] = RESOLVE_AGAIN_SECONDS - 1
    assert table.knows("SCANNER", "10.0.0.1")
    now[0] = RESOLVE_AGAIN_SECONDS
    assert table.knows("SCANNER", "10.0.0.2")


def test_while_names_cannot_be_looked_up_the_last_answer_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is turned away for good (1, 1, 3) does not call again; its scans would be lost to one lost packet."""
    answers = {"10.0.0.1"}

    def look_up(*_: object) -> list[object]:
        if not answers:
            raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")
        return [(0, 0, 0, "", (a, 0)) for a in answers]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    now = [0.0]
    table = PeerTable(peers(("SCANNER", "scanner.example")), clock=lambda: now[0])
    assert table.knows("SCANNER", "10.0.0.1")
    answers.clear()
    now[0] = RESOLVE_AGAIN_SECONDS
    assert table.knows("SCANNER", "10.0.0.1")
    answers.add("10.0.0.2")
    assert not table.knows("SCANNER", "10.0.0.2")
    now[0] += RESOLVE_RETRY_SECONDS
    assert table.knows("SCANNER", "10.0.0.2")


def test_a_peer_whose_name_was_never_found_may_call_again() -> None:
    """`.invalid` is a name that no server knows (RFC 6761)."""
    listener = Listener(peers=peers(("A", "no-such-host.invalid"), ("A", "10.0.0.1"), ("B", "10.0.0.1")))
    policy = Admission(listener, lambda: 100, 100)
    assert policy.admit(request(address="10.0.0.2")) is Rejection.PEER_UNRESOLVED
    assert isinstance(policy.admit(request()), Accepted)
    assert policy.admit(request(calling="B", address="10.0.0.2")) is Rejection.CALLING_AE_TITLE


def admission(free: int = 100, **settings: Any) -> Admission:
    listener = Listener(peers=peers(("A", "10.0.0.0/8"), ("B", "10.0.0.0/8")), **settings)
    return Admission(listener, lambda: free, 100)


def request(calling: str = "A", address: str = "10.0.0.1", called: str = "EGFR_DLS") -> AssociationRequest:
    return AssociationRequest(calling, called, address)


def test_the_order_of_the_rules_is_from_the_caller_to_us() -> None:
    assert admission(free=0).admit(request(calling="X", called="Y")) is Rejection.CALLING_AE_TITLE
    assert admission(free=0).admit(request(called="Y")) is Rejection.CALLED_AE_TITLE
    assert admission(free=99).admit(request()) is Rejection.DISK_FLOOR
    assert isinstance(admission().admit(request()), Accepted)


def test_places_are_counted_per_peer_and_given_back_once() -> None:
    policy = admission(max_associations=3, max_associations_per_peer=2)
    first, second = policy.admit(request()), policy.admit(request())
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.association_id != second.association_id
    assert policy.admit(request()) is Rejection.TOO_MANY_OF_PEER
    assert isinstance(policy.admit(request(address="10.0.0.2")), Accepted), "a peer is its title and its address"
    assert policy.admit(request(calling="B")) is Rejection.TOO_MANY
    policy.leave(first.association_id)
    policy.leave(first.association_id)
    assert isinstance(policy.admit(request(calling="B")), Accepted)
    assert policy.admit(request(calling="B")) is Rejection.TOO_MANY


@pytest.mark.parametrize(
    ("shown", "rejected"),
    [(None, True), ((), True), (("other",), True), (("other", "ct.example"), False), (("cn=ct",), False)],
)
@pytest.mark.parametrize("accept_any_peer", [False, True])
def test_an_ae_title_is_bound_by_any_of_its_entries(
    shown: tuple[str, ...] | None, rejected: bool, accept_any_peer: bool
) -> None:
    """None: a connection without TLS. The entry without names does not free the title from the other's."""
    bound = Peer(ae_title="A", host="192.0.2.1", certificate_names=("CT.example", "CN=ct"))
    listener = Listener(
        tls=ListenerTls(certificate=Path("c"), key=Path("k"), ca=Path("ca")),
        peers=(*peers(("A", "10.0.0.0/8"), ("B", "10.0.0.0/8")), bound),
        accept_any_peer=accept_any_peer,
    )
    policy = Admission(listener, lambda: 100, 100)
    names = None if shown is None else frozenset(shown)
    verdict = policy.admit(AssociationRequest("A", "EGFR_DLS", "10.0.0.1", names))
    assert (verdict is Rejection.CERTIFICATE) is rejected
    assert isinstance(policy.admit(AssociationRequest("B", "EGFR_DLS", "10.0.0.1", names)), Accepted)
