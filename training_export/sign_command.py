"""``egfr-dls models sign``: puts the detached signature of the site's key beside a package's manifest."""

from __future__ import annotations

from pathlib import Path

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from egfr_dls.atomic_file import SHARED, write_atomically
from egfr_dls.errors import UsageError
from inference.models.manifest import MANIFEST_NAME, ModelPackage
from inference.models.package_files import MAX_MANIFEST_BYTES, read_file
from inference.models.signature import SIGNATURE_NAME, Trust, fingerprint_of

NEEDED = "needed: the PEM file of an Ed25519 private key (openssl genpkey -algorithm ed25519)"


@click.command(name="sign")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--key", "key_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
    help="PEM: an Ed25519 private key; its pass phrase is asked for.",
)  # fmt: skip
def sign_package(folder: Path, key_file: Path) -> None:
    """Sign the package in DIR: every file's digest is checked, then the bytes of its manifest are signed."""
    key = _private_key(key_file)
    ModelPackage.read(folder)
    signature = key.sign(read_file(folder, MANIFEST_NAME, MAX_MANIFEST_BYTES))
    write_atomically(folder / SIGNATURE_NAME, signature, SHARED)
    fingerprint = fingerprint_of(key.public_key())
    package = ModelPackage.read(folder, Trust(((fingerprint, key.public_key()),), required=True))
    click.echo(f"{package.key} is signed by {fingerprint}: {folder / SIGNATURE_NAME}")


def _private_key(path: Path) -> Ed25519PrivateKey:
    content = path.read_bytes()
    try:
        try:
            key = load_pem_private_key(content, None)
        except TypeError:  # it has a pass phrase
            phrase = click.prompt(f"pass phrase of {path}", hide_input=True, err=True)
            key = load_pem_private_key(content, phrase.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"--key {path}: no private key, or another pass phrase; {NEEDED}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"--key {path}: a key of another kind ({type(key).__name__}); {NEEDED}")
    return key
