"""Certificates of one run, made by openssl: an authority, a server and a client, each with its key in one file."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def certificates_beside(folder: Path) -> Path:
    """Return the folder of an authority's, a server's and a client's certificate; they are made at the first call."""
    keys = folder.parent / "keys"
    if keys.exists():
        return keys
    keys.mkdir()
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-out", f"{keys}/ca.pem"]
    _quiet([*made, "-keyout", f"{keys}/ca.key", "-subj", "/CN=benchmark authority"])
    for name in ("server", "client"):
        asked = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{keys}/{name}.key"]
        _quiet([*asked, "-out", f"{keys}/{name}.csr", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"])
        signed = ["openssl", "x509", "-req", "-in", f"{keys}/{name}.csr", "-CA", f"{keys}/ca.pem", "-days", "2"]
        _quiet(
            [
                *signed,
                "-CAkey",
                f"{keys}/ca.key",
                "-CAcreateserial",
                "-copy_extensions",
                "copy",
                "-out",
                f"{keys}/{name}.crt",
            ]
        )
        (keys / f"{name}.pem").write_text((keys / f"{name}.crt").read_text() + (keys / f"{name}.key").read_text())
        (keys / f"{name}.pem").chmod(0o600)
    return keys


def _quiet(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
