"""Why a TLS handshake failed, by class: what an operator can act upon, whichever of OpenSSL's many reasons it was."""

from __future__ import annotations

import ssl
from enum import StrEnum

from egfr_dls.errors import EgfrDlsError


class HandshakeFault(StrEnum):
    """The ``reason`` of the log event ``handshake_failed``."""

    PLAIN_TEXT = "plain_text"
    BROKEN_OFF = "broken_off"
    VERSION = "version"
    CIPHER_SUITE = "cipher_suite"
    NO_CERTIFICATE = "no_certificate"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_AUTHORITY = "certificate_authority"
    CERTIFICATE_INVALID = "certificate_invalid"
    REFUSED_BY_PEER = "refused_by_peer"
    PROTOCOL = "protocol"


class HandshakeError(EgfrDlsError):
    """A connection ended before its handshake did."""

    kind = "refused"

    def __init__(self, fault: HandshakeFault) -> None:
        super().__init__(fault)
        self.fault = fault


# OpenSSL's reason -> class; what is not here is PROTOCOL
_REASONS = {
    "UNSUPPORTED_PROTOCOL": HandshakeFault.VERSION,
    "VERSION_TOO_LOW": HandshakeFault.VERSION,
    "NO_SHARED_CIPHER": HandshakeFault.CIPHER_SUITE,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": HandshakeFault.CIPHER_SUITE,
    "NO_SHARED_SIGNATURE_ALGORITHMS": HandshakeFault.CIPHER_SUITE,
    "NO_SUITABLE_KEY_SHARE": HandshakeFault.CIPHER_SUITE,
    "NO_SUITABLE_GROUPS": HandshakeFault.CIPHER_SUITE,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": HandshakeFault.NO_CERTIFICATE,
}
# X509_V_ERR_* (openssl verify(1)) -> class; what is not here is CERTIFICATE_INVALID
_VERIFY_CODES = {
    9: HandshakeFault.CERTIFICATE_EXPIRED,  # not yet valid
    10: HandshakeFault.CERTIFICATE_EXPIRED,
    18: HandshakeFault.CERTIFICATE_AUTHORITY,  # signed by itself
    19: HandshakeFault.CERTIFICATE_AUTHORITY,  # by an authority that came with it
    20: HandshakeFault.CERTIFICATE_AUTHORITY,  # by one that is not there
    21: HandshakeFault.CERTIFICATE_AUTHORITY,
}


def fault_of(error: ssl.SSLError) -> HandshakeFault:
    """Return the class of a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(error.verify_code, HandshakeFault.CERTIFICATE_INVALID)
    reason = error.reason or ""
    if "_ALERT_" in reason:  # the peer's last word
        return HandshakeFault.REFUSED_BY_PEER
    return _REASONS.get(reason, HandshakeFault.PROTOCOL)
