"""What TLS handshakes are done with: the profile (PS3.15 B.12, B.13), and certificate, key and authorities from their files."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings_sections import ListenerTls
from listener.secure_transport.certificate import good_from, good_until

# TLS 1.2 or later. The suites of TLS 1.3 are OpenSSL's own: AES-256-GCM, ChaCha20-Poly1305, AES-128-GCM, which both profiles
# want. Those of TLS 1.2 by profile, OpenSSL's names, the server's choice first.
_AES_GCM = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
CIPHER_SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "bcp195": _AES_GCM,  # PS3.15 B.12: BCP 195, whose recommended suites are RFC 9325 4.2
        "bcp195-modified": (  # PS3.15 B.13: its closed list, but for Camellia-GCM, which OpenSSL does not have
            *_AES_GCM,
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
            "ECDHE-ECDSA-AES256-CCM",
            "ECDHE-ECDSA-AES128-CCM",
            "ECDHE-ECDSA-AES256-CCM8",
            "ECDHE-ECDSA-AES128-CCM8",
        ),
    }
)
_STRENGTH = "@SECLEVEL=2"  # keys of 112 bits or more: RSA and DH 2048 (RFC 9325 4.5), EC 224; no SHA-1 in signatures
_MISMATCHES = (
    "KEY_VALUES_MISMATCH",
    "KEY_TYPE_MISMATCH",
    "NO_CERTIFICATE_ASSIGNED",
)  # OpenSSL's: the last for RSA beside EC
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, for which ``ssl`` has no name

# No renegotiation (RFC 9325 3.5). No resumption by tickets: each association shows its certificate anew.
_OPTIONS = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE


class CredentialError(ConfigurationError):
    """A certificate, key or authority that cannot be used; ``code`` is what a log may say of it."""

    def __init__(self, key: str, path: Path, code: str, found: str, needed: str) -> None:
        super().__init__(f"listener.tls.{key} {path}: {found}; needed: {needed}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Credentials:
    """What handshakes are done with; ``until``: the last moment of the certificate, UTC seconds."""

    context: ssl.SSLContext
    until: float


def load(settings: ListenerTls, now: float) -> Credentials:
    """Read the files and try a handshake with them.

    Parameters
    ----------
    now
        UTC seconds

    Raises
    ------
    CredentialError
        a file is missing, cannot be read, is not what it should be or does not belong to the others; or the certificate has
        expired
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= _OPTIONS
    context.num_tickets = 0
    context.set_ciphers(":".join((*CIPHER_SUITES[settings.profile], _STRENGTH)))
    _load_authorities(context, settings)
    _load_own(context, settings)
    certificate = _shown(context, settings.certificate)
    _insist_on_time(settings.certificate, good_from(certificate), good_until(certificate), now)
    return Credentials(context, good_until(certificate))


def _load_authorities(context: ssl.SSLContext, settings: ListenerTls) -> None:
    if settings.ca is None:
        context.verify_mode = ssl.CERT_NONE
        return
    context.verify_mode = ssl.CERT_REQUIRED if settings.require_client_certificate else ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what the file holds is trusted, also without its own issuer
    _load_trusted(context, "ca", settings.ca)


def _load_trusted(context: ssl.SSLContext, key: str, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise CredentialError(
            key, path, "no_certificate", "holds no certificate", "certificates in PEM form"
        ) from error
    except OSError as error:
        raise _unreadable(key, path, error) from error


def _load_own(context: ssl.SSLContext, settings: ListenerTls) -> None:
    _load_trusted(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "certificate", settings.certificate)
    asked: list[bool] = []

    def no_pass_phrase() -> str:
        asked.append(True)  # else OpenSSL asks the terminal
        return ""

    try:
        settings.key.open("rb").close()
        context.load_cert_chain(settings.certificate, settings.key, no_pass_phrase)
    except ssl.SSLError as error:
        raise _unusable(settings, error, encrypted=bool(asked)) from error
    except OSError as error:
        raise _unreadable("key", settings.key, error) from error


def _unusable(settings: ListenerTls, error: ssl.SSLError, *, encrypted: bool) -> CredentialError:
    reason = error.reason or ""
    if encrypted:
        return CredentialError("key", settings.key, "key_encrypted", "is encrypted", "a key without a pass phrase")
    if reason in _MISMATCHES:
        found = f"does not belong to the certificate {settings.certificate}"
        return CredentialError("key", settings.key, "key_mismatch", found, "the key that it was made for")
    if reason.endswith(("TOO_SMALL", "TOO_WEAK")):
        needed = "RSA of 2048 bits or EC of 256, and SHA-256 or better"
        return CredentialError("certificate", settings.certificate, "too_weak", "is too weak", needed)
    return CredentialError("key", settings.key, "no_key", "holds no private key", "a private key in PEM form")


def _unreadable(key: str, path: Path, error: OSError) -> CredentialError:
    return CredentialError(key, path, "unreadable", str(error.strerror), "a file that can be read")


def _shown(context: ssl.SSLContext, path: Path) -> Mapping[str, Any]:
    """Return our certificate as a client sees it in a handshake, which thereby is known to succeed.

    Raises
    ------
    CredentialError
        no client would take it
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        client.load_verify_locations(path)
        caller = client.wrap_bio(to_client, to_server)
        for side in (caller, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        caller.do_handshake()
    except ssl.SSLError as error:
        found = getattr(error, "verify_message", None) or f"no handshake succeeds with it ({error.reason})"
        needed = "a server's certificate (extended key usage serverAuth, or none)"
        raise CredentialError("certificate", path, "not_accepted", found, needed) from error
    return caller.getpeercert() or {}


def _insist_on_time(path: Path, since: float, until: float, now: float) -> None:
    if now > until:
        raise CredentialError("certificate", path, "expired", f"expired on {_date(until)}", "a renewed one")
    if now < since:
        found = f"is good from {_date(since)} on"
        raise CredentialError("certificate", path, "not_yet_valid", found, "one that is good now, or the right time")


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
