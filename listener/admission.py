"""Who may send: the allow-list of peers and the limits, decided before an association is accepted."""

from __future__ import annotations

import ipaddress
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings_sections import Listener, Peer
from listener.places import Places
from listener.secure_transport.certificate import normal
from listener.status import Rejection

RESOLVE_AGAIN_SECONDS = 60.0
RESOLVE_RETRY_SECONDS = 5.0  # after a look-up that failed
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """Who asks (A-ASSOCIATE-RQ, PS3.8 9.3.2) and from where; AE titles without padding.

    ``certificate_names``: what the caller's certificate is called, empty where it showed none; None on a connection without TLS.
    """

    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    certificate_names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An association that holds one of the places until ``Admission.leave``."""

    association_id: str
    request: AssociationRequest


class Admission:
    """Decides who may open an association, for all receiver processes that are forked after it was made.

    Parameters
    ----------
    free_bytes
        asked at every request: the space left on the spool's disk, bytes
    min_free_bytes
        below it no association is accepted
    """

    def __init__(self, listener: Listener, free_bytes: Callable[[], int], min_free_bytes: int) -> None:
        self._listener = listener
        self._peers = PeerTable(listener.peers)
        self._free_bytes = free_bytes
        self._min_free_bytes = min_free_bytes
        self._places = Places(listener.max_associations, listener.max_associations_per_peer)

    def admit(self, request: AssociationRequest) -> Accepted | Rejection:
        """Take a place, or say why there is none."""
        is_known = self._knows(request)
        rules: tuple[tuple[bool, Rejection], ...] = (
            (not is_known and self._peers.awaits_name(request.calling_ae_title), Rejection.PEER_UNRESOLVED),
            (not is_known, Rejection.CALLING_AE_TITLE),
            (not self._has_proof(request), Rejection.CERTIFICATE),
            (not self._is_called(request), Rejection.CALLED_AE_TITLE),
            (self._free_bytes() < self._min_free_bytes, Rejection.DISK_FLOOR),
        )
        for broken, rejection in rules:
            if broken:
                return rejection
        return self._take_place(request)

    def leave(self, association_id: str) -> None:
        """Give a place back; a second call does nothing."""
        self._places.give_back(association_id)

    def _knows(self, request: AssociationRequest) -> bool:
        return self._listener.accept_any_peer or self._peers.knows(request.calling_ae_title, request.peer_address)

    def _has_proof(self, request: AssociationRequest) -> bool:
        """Whether the caller showed a certificate that its AE title is bound to, if it is bound to any."""
        needed = self._peers.certificate_names(request.calling_ae_title)
        return not needed or bool(needed & (request.certificate_names or frozenset()))

    def _is_called(self, request: AssociationRequest) -> bool:
        return not self._listener.check_called_ae_title or request.called_ae_title == self._listener.ae_title.strip()

    def _take_place(self, request: AssociationRequest) -> Accepted | Rejection:
        accepted = Accepted(str(uuid.uuid4()), request)
        peer = (request.calling_ae_title, request.peer_address)
        return self._places.take(accepted.association_id, peer) or accepted


class PeerTable:
    """The allow-list: an AE title and a host that belong together.

    Host names are looked up again every minute; while that fails, the last answer stands.
    """

    def __init__(self, peers: tuple[Peer, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._networks = [(peer.ae_title.strip(), network) for peer in peers for network in _networks(peer.host)]
        self._names = [(peer.ae_title.strip(), peer.host) for peer in peers if not _networks(peer.host)]
        self._certificate_names: dict[str, frozenset[str]] = {}
        for peer in peers:
            names = frozenset(map(normal, peer.certificate_names))
            title = peer.ae_title.strip()
            self._certificate_names[title] = self._certificate_names.get(title, frozenset()) | names
        self._clock = clock
        self._looked_up: dict[str, tuple[float, frozenset[Address]]] = {}  # until when; empty: never found yet

    def knows(self, ae_title: str, address: str) -> bool:
        """Whether this AE title may call from this address."""
        found = _address(address)
        return any(title == ae_title and found in network for title, network in self._networks) or any(
            title == ae_title and found in self._addresses(host) for title, host in self._names
        )

    def awaits_name(self, ae_title: str) -> bool:
        """Whether a host name of this AE title has never been found: then nobody can say who does not belong to it."""
        return any(title == ae_title and not self._addresses(host) for title, host in self._names)

    def certificate_names(self, ae_title: str) -> frozenset[str]:
        """Return the names of which a caller of this AE title must show one, wherever it calls from; empty: it need not."""
        return self._certificate_names.get(ae_title, frozenset())

    def _addresses(self, host: str) -> frozenset[Address]:
        until, addresses = self._looked_up.get(host, (0.0, frozenset()))
        if self._clock() >= until:
            found = _resolve(host)
            addresses = found or addresses
            seconds = RESOLVE_AGAIN_SECONDS if found else RESOLVE_RETRY_SECONDS
            self._looked_up[host] = (self._clock() + seconds, addresses)
        return addresses


def _networks(host: str) -> tuple[Network, ...]:
    """Return the network that a peer's host stands for; none if it is a name."""
    try:
        return (ipaddress.ip_network(host, strict=False),)
    except ValueError as error:
        if "/" in host or not host:
            raise ConfigurationError(
                f"listener.peers.host: found {host!r}; needed: a name, an address, or a network as 10.0.0.0/24"
            ) from error
        return ()


def _resolve(host: str) -> frozenset[Address]:
    """Return the addresses of a name; none where it is not known, or nobody answers."""
    try:
        return frozenset(_address(str(info[4][0])) for info in socket.getaddrinfo(host, None))
    except OSError:
        return frozenset()


def _address(text: str) -> Address:
    address = ipaddress.ip_address(text.split("%")[0])  # without the scope of a link-local IPv6 address
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # an IPv4 caller at a socket that takes both
    return address
