"""`egfr-dls models sign`: what it makes is what the service takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from egfr_dls.errors import ConfigurationError, UsageError
from egfr_dls.settings_sections import Inference
from inference.models.manifest import ModelPackage
from inference.models.signature import SignatureState, Trust
from tests.inference.packages import write_package
from tests.inference.signing import OURS, public_pem
from training_export.sign_command import sign_package


def pem(path: Path, key: Any = OURS, encryption: KeySerializationEncryption | None = None) -> Path:
    """Write a private key."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package without a signature."""
    return write_package(tmp_path / "tiny")


@pytest.mark.parametrize("phrase", [None, "secret"])
def test_a_signed_package_is_trusted(folder: Path, tmp_path: Path, phrase: str | None) -> None:
    """With a key as it is, or under a pass phrase, which is asked for and not shown."""
    encryption = BestAvailableEncryption(phrase.encode()) if phrase else None
    key = pem(tmp_path / "site.key", encryption=encryption)
    result = CliRunner().invoke(sign_package, [str(folder), "--key", str(key)], input=f"{phrase}\n")
    assert result.exit_code == 0, result.output
    assert (folder / "model.json.sig").stat().st_size == 64
    trust = Trust.of(Inference(trusted_keys=(public_pem(OURS, tmp_path / "site.pem"),), require_signature=True))
    assert ModelPackage.read(folder, trust).signature.state is SignatureState.TRUSTED
    assert f"is signed by {trust.keys[0][0]}" in result.output
    assert phrase is None or phrase not in result.output


def test_a_faulty_package_is_not_signed(folder: Path, tmp_path: Path) -> None:
    """Its digests do not fit, so nobody may vouch for it."""
    (folder / "golden.npz").write_bytes(b"other")
    result = CliRunner().invoke(sign_package, [str(folder), "--key", str(pem(tmp_path / "site.key"))])
    assert isinstance(result.exception, ConfigurationError)
    assert not (folder / "model.json.sig").exists()


def test_what_is_no_such_key_is_a_usage_error(folder: Path, tmp_path: Path) -> None:
    """A public one, one of another kind, a wrong pass phrase, text."""
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    keys = {
        public_pem(OURS, tmp_path / "public"): "no private key",
        pem(tmp_path / "elliptic", generate_private_key(SECP256R1())): "a key of another kind",
        pem(tmp_path / "locked", encryption=BestAvailableEncryption(b"secret")): "another pass phrase",
        tmp_path / "text": "no private key",
    }
    for key, told in keys.items():
        result = CliRunner().invoke(sign_package, [str(folder), "--key", str(key)], input="wrong\n")
        assert isinstance(result.exception, UsageError), key
        assert told in str(result.exception)
        assert str(key) in str(result.exception)
    assert not (folder / "model.json.sig").exists()
