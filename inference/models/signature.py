"""Detached signatures of packages: Ed25519 over the bytes of ``model.json``, whose digests cover every other file.

The signature is the 64 bytes of RFC 8032 as they are, keys are PEM, so that OpenSSL makes and checks the same
(docs/decisions/0029-signed-packages.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings_sections import Inference
from inference.models.package_files import read_file

SIGNATURE_NAME = "model.json.sig"
SIGNATURE_BYTES = 64
MAX_KEY_BYTES = 1 << 16
SETTING = "inference.trusted_keys"


class SignatureState(StrEnum):
    """What is known of a package's signature; a wrong one is an error, never a state."""

    NONE = "none"
    UNCHECKED = "unchecked"  # there is one, and no key to hold it against
    TRUSTED = "trusted"


@dataclass(frozen=True)
class Signature:
    """The state, and the fingerprint of the trusted key that made it."""

    state: SignatureState
    key: str | None = None


UNSIGNED = Signature(SignatureState.NONE)


@dataclass(frozen=True)
class Trust:
    """Whose packages are taken: public keys by fingerprint, and whether a package may come without a signature."""

    keys: tuple[tuple[str, Ed25519PublicKey], ...] = ()
    required: bool = False

    @staticmethod
    def of(inference: Inference) -> Trust:
        """Read the keys that the settings name; raises ConfigurationError where one is none."""
        return Trust(tuple(map(_public_key, inference.trusted_keys)), inference.require_signature)


NO_TRUST = Trust()


def check_signature(folder: Path, manifest: bytes, trust: Trust) -> Signature:
    """Hold the signature beside a manifest against the trusted keys.

    Raises
    ------
    ConfigurationError
        keys are trusted and the signature is of none of them, or it is missing and required
    """
    path = folder / SIGNATURE_NAME
    if not path.is_symlink() and not path.exists():
        if trust.required:
            raise ConfigurationError(
                f"{folder} is not signed; inference.require_signature needs {SIGNATURE_NAME} by one of {_named(trust.keys)}"
            )
        return UNSIGNED
    if not trust.keys:
        return Signature(SignatureState.UNCHECKED)
    signature = read_file(folder, SIGNATURE_NAME, MAX_KEY_BYTES)
    if len(signature) != SIGNATURE_BYTES:
        raise ConfigurationError(
            f"{path} holds {len(signature)} bytes; needed: the {SIGNATURE_BYTES} bytes of an Ed25519 signature"
        )
    for fingerprint, key in trust.keys:
        try:
            key.verify(signature, manifest)
        except InvalidSignature:
            continue
        return Signature(SignatureState.TRUSTED, fingerprint)
    raise ConfigurationError(
        f"{path} is no signature of model.json by a trusted key ({_named(trust.keys)}): the package was changed, or "
        f"someone else signed it. Needed: the package as it was signed, or its maker's key in {SETTING}"
    )


def fingerprint_of(key: Ed25519PublicKey) -> str:
    """Return the short name of a key: the first half of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]


def _named(keys: Iterable[tuple[str, Ed25519PublicKey]]) -> str:
    return ", ".join(fingerprint for fingerprint, _ in keys)


def _public_key(path: Path) -> tuple[str, Ed25519PublicKey]:
    needed = "needed: the PEM file of an Ed25519 public key"
    try:
        with path.open("rb") as file:
            key = load_pem_public_key(file.read(MAX_KEY_BYTES))
    except OSError as error:
        raise ConfigurationError(f"{SETTING}: {path}: {error.strerror}; {needed}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{SETTING}: {path} holds no public key; {needed}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"{SETTING}: {path} holds a key of another kind ({type(key).__name__}); {needed}")
    return fingerprint_of(key), key
