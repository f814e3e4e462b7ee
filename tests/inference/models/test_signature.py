"""Whose packages are taken: signatures are held against trusted keys, and what was changed or made by others is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from egfr_dls import settings
from egfr_dls.errors import ConfigurationError
from egfr_dls.settings_sections import Inference
from inference.biomarkers.pet_ct_egfr.biomarker import PET_CT_EGFR
from inference.biomarkers.registry import load_scorers
from inference.models.catalogue import read_catalogue
from inference.models.manifest import ModelPackage
from inference.models.signature import NO_TRUST, SignatureState, Trust
from tests.inference.packages import network, write_package
from tests.inference.signing import OURS, THEIRS, public_pem, sign


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package without a signature."""
    return write_package(tmp_path / "models" / "tiny")


@pytest.fixture
def inference(tmp_path: Path) -> Inference:
    """The settings of a site that trusts two keys, ours the second of them."""
    other = Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32)
    return Inference(trusted_keys=(public_pem(other, tmp_path / "a.pem"), public_pem(OURS, tmp_path / "b.pem")))


def test_a_package_signed_by_a_trusted_key_is_taken(folder: Path, inference: Inference) -> None:
    """The package knows which of the keys it was."""
    sign(folder, OURS)
    trust = Trust.of(inference)
    package = ModelPackage.read(folder, trust)
    assert package.signature.state is SignatureState.TRUSTED
    assert package.signature.key == trust.keys[1][0]


def _one_bit(folder: Path) -> None:
    path = folder / "model.json.sig"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def _other_facts(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"demonstration"', '"site-validated"'), encoding="utf-8")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another key": (lambda folder: sign(folder, THEIRS), "is no signature of model.json by a trusted key"),
    "changed signature": (_one_bit, "is no signature of model.json by a trusted key"),
    "changed manifest": (_other_facts, "is no signature of model.json by a trusted key"),
    "cut off": (
        lambda folder: (folder / "model.json.sig").write_bytes(b"x" * 63),
        "holds 63 bytes; needed: the 64 bytes",
    ),
    "huge": (
        lambda folder: (folder / "model.json.sig").write_bytes(b"x" * 70000),
        "holds 70000 bytes; needed: at most",
    ),
    "a folder": (
        lambda folder: ((folder / "model.json.sig").unlink(), (folder / "model.json.sig").mkdir()),
        "is no plain file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_signature_is_refused(folder: Path, inference: Inference, fault: str) -> None:
    """Whether or not signatures are required; the message names the file."""
    sign(folder, OURS)
    change, told = FAULTS[fault]
    change(folder)
    with pytest.raises(ConfigurationError, match=told) as caught:
        ModelPackage.read(folder, Trust.of(inference))
    assert str(folder / "model.json.sig") in str(caught.value)


def test_a_changed_network_is_refused_under_a_sound_signature(folder: Path, inference: Inference) -> None:
    """The manifest's digests carry the signature to every file."""
    sign(folder, OURS)
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ConfigurationError, match=r"model\.onnx: sha256 is"):
        ModelPackage.read(folder, Trust.of(inference))


def test_a_wrong_signature_is_found_before_the_manifest_is_believed(folder: Path, inference: Inference) -> None:
    """What is not signed by us is not even parsed."""
    sign(folder, OURS)
    (folder / "model.json").write_bytes(b"[" * 100_000)
    with pytest.raises(ConfigurationError, match="trusted key"):
        ModelPackage.read(folder, Trust.of(inference))


def test_unsigned_packages_are_refused_only_where_signatures_are_required(folder: Path, inference: Inference) -> None:
    """A site can trust keys before every package is signed."""
    assert ModelPackage.read(folder, Trust.of(inference)).signature.state is SignatureState.NONE
    strict = inference.model_copy(update={"require_signature": True})
    with pytest.raises(ConfigurationError, match=r"is not signed; .*needs model\.json\.sig by one of [0-9a-f]{32}"):
        ModelPackage.read(folder, Trust.of(strict))


def test_without_a_key_a_signature_is_only_seen(folder: Path) -> None:
    """It may be anyone's."""
    sign(folder, THEIRS)
    assert ModelPackage.read(folder, NO_TRUST).signature.state is SignatureState.UNCHECKED


def test_a_required_signature_needs_a_key() -> None:
    """Else every package would be refused, or none."""
    with pytest.raises(ValueError, match="require_signature without trusted_keys"):
        Inference(require_signature=True)


def _private(path: Path) -> None:
    path.write_bytes(OURS.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _elliptic(path: Path) -> None:
    key = generate_private_key(SECP256R1()).public_key()
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b"hello"), "holds no public key"),
        (_private, "holds no public key"),
        (_elliptic, "holds a key of another kind"),
    ],
    ids=["missing", "text", "private", "elliptic curve"],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, make: Callable[[Path], object], told: str) -> None:
    """By setting and file."""
    make(tmp_path / "key.pem")
    with pytest.raises(ConfigurationError, match=told) as caught:
        Trust.of(Inference(trusted_keys=(tmp_path / "key.pem",)))
    assert f"inference.trusted_keys: {tmp_path / 'key.pem'}" in str(caught.value)


def test_catalogue_and_service_refuse_a_package_of_others(folder: Path, tmp_path: Path) -> None:
    """The stage's own way to its networks holds signatures against the settings."""
    write_package(tmp_path / "models" / "pdl1", network(planes=True), name="pdl1")
    key = public_pem(OURS, tmp_path / "ours.pem")
    inference = {"models": str(tmp_path / "models"), "trusted_keys": [str(key)]}
    loaded = settings.load(None, {"storage": {"root": str(tmp_path)}, "inference": inference})
    assert load_scorers(PET_CT_EGFR, loaded)
    sign(folder, THEIRS)
    with pytest.raises(ConfigurationError, match="by a trusted key"):
        load_scorers(PET_CT_EGFR, loaded)
    with pytest.raises(ConfigurationError, match="by a trusted key"):
        read_catalogue(tmp_path / "models", Trust.of(loaded.inference))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_signs_the_same(folder: Path, tmp_path: Path) -> None:
    """A site can sign with a tool, or a token, of its own."""
    private, public = tmp_path / "site.key", tmp_path / "site.pem"
    for command in (
        f"openssl genpkey -algorithm ed25519 -out {private}",
        f"openssl pkey -in {private} -pubout -out {public}",
        f"openssl pkeyutl -sign -inkey {private} -rawin -in {folder}/model.json -out {folder}/model.json.sig",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
    trust = Trust.of(Inference(trusted_keys=(public,), require_signature=True))
    assert ModelPackage.read(folder, trust).signature.state is SignatureState.TRUSTED
