"""Keys and signatures of packages, made without the product."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

OURS, THEIRS = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))


def public_pem(key: Ed25519PrivateKey, path: Path) -> Path:
    """Write the public half of a key."""
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def sign(folder: Path, key: Ed25519PrivateKey) -> None:
    """Sign a package with the library alone."""
    (folder / "model.json.sig").write_bytes(key.sign((folder / "model.json").read_bytes()))
