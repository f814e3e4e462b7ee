"""Certificates for tests, made by the openssl program: an authority, and what it issues."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

EC, RSA = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), ("rsa:2048",)
CLIENT, SERVER = "clientAuth", "serverAuth"
HERE = "IP:127.0.0.1"  # as an alternative name


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: Path
    key: Path

    def context(self, trusted: Path, *versions: ssl.TLSVersion) -> ssl.SSLContext:
        """Return what a client with this certificate calls with; ``versions``: lowest and highest."""
        made = client_context(trusted, *versions)
        made.load_cert_chain(self.certificate, self.key)
        return made

    def replaced_by(self, other: Issued) -> None:
        """Put another certificate and key into the files of this one."""
        shutil.copy(other.key, self.key)
        shutil.copy(other.certificate, self.certificate)


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("not installed: openssl")
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl(
            "req", "-x509", "-newkey", *EC, "-nodes", "-days", "9", "-keyout", self._key, "-out", self.certificate,
            "-subj", f"/O=Hospital/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue(
        self,
        name: str,
        usage: str = CLIENT,
        *,
        days: int = 5,
        kind: tuple[str, ...] = EC,
        subject: str | None = None,
        alternatives: str | None = None,
    ) -> Issued:
        """Return a new certificate; negative ``days``: it ended so long ago."""
        issued = Issued(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        _openssl(
            "req", "-newkey", *kind, "-nodes", "-keyout", issued.key, "-out", request,
            "-subj", subject or f"/C=DE/O=Hospital/CN={name}",
            "-addext", f"subjectAltName={alternatives or f'DNS:{name}.example'}", "-addext", f"extendedKeyUsage={usage}",
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", str(days), "-copy_extensions", "copy", "-out", issued.certificate,
        )  # fmt: skip
        issued.key.chmod(0o600)
        return issued


def client_context(trusted: Path, *versions: ssl.TLSVersion) -> ssl.SSLContext:
    """Return what a client without a certificate calls with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(trusted)
    if versions:
        context.minimum_version, context.maximum_version = versions
    return context


def mutual(own: Issued, clients_of: Authority) -> ssl.SSLContext:
    """Return what a PACS serves with that demands a client's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    context.load_verify_locations(clients_of.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
