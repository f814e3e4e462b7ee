"""TLS towards nodes that we call: whom to trust, who we are, and what went wrong (PS3.15 B.9, B.10: TLS 1.2 or later)."""

from __future__ import annotations

import ssl
from typing import Any

from egfr_dls.settings_sections import PeerTls

NOT_TRUSTED = "CERTIFICATE_NOT_TRUSTED"  # theirs, by us
REFUSED = "CERTIFICATE_REFUSED"  # ours, by them
FAILED = "TLS_FAILED"


def client_context(tls: PeerTls) -> ssl.SSLContext:
    """Return what connections are made with; a node must have the name by which it is called.

    Raises
    ------
    OSError, ValueError
        a file cannot be read, or is none of its kind
    """
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key, password="")  # a pass phrase is never asked for
    return context


def association_tls(tls: PeerTls | None, host: str) -> tuple[tuple[ssl.SSLContext, str] | None, Faults | None]:
    """Return what pynetdicom connects with (``tls_args``), and what will tell why it could not; neither without TLS.

    The files are read for each association, as certificates end.

    Raises
    ------
    OSError, ValueError
        a file cannot be read, or is none of its kind
    """
    if tls is None:
        return None, None
    context = client_context(tls)
    return (context, host), Faults(context)


class Faults:
    """What went wrong on the TLS connections of a context, for callers whose library does not tell."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.reason = ""  # of the last; not the fault itself, whose traceback would hold the socket open
        faults = self

        class Watched(ssl.SSLSocket):
            """A peer that refuses our certificate says so where we next receive or send (RFC 8446 4.4.2)."""

            def do_handshake(self, block: bool = False) -> None:
                faults.note(super().do_handshake, block)

            def recv(self, *arguments: Any) -> bytes:
                received: bytes = faults.note(super().recv, *arguments)
                return received

            def send(self, *arguments: Any) -> int:
                sent: int = faults.note(super().send, *arguments)
                return sent

        context.sslsocket_class = Watched

    def note(self, call: Any, *arguments: Any) -> Any:
        """Call, and keep why it failed."""
        try:
            return call(*arguments)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.reason = reason_of(error)
            raise


def reason_of(error: ssl.SSLError) -> str:
    """Name a fault: the peer is not who it should be, it does not take us for who we should be, or something else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return NOT_TRUSTED
    said = error.reason or ""
    about_us = "ALERT" in said and any(word in said for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED"))
    return REFUSED if about_us else FAILED
