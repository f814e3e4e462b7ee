"""What is found out before a listener starts: every file that cannot be used, by its key, and what is then negotiated."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.errors import ExitCode
from egfr_dls.settings_sections import ListenerTls
from listener.secure_transport.credentials import CIPHER_SUITES, CredentialError, load
from tests.listener.certificates import EC, RSA, SERVER, Authority, Issued


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    """A server's certificate."""
    return authority.issue("server", SERVER)


@pytest.fixture
def settings(authority: Authority, issued: Issued, tmp_path: Path) -> ListenerTls:
    """Settings over copies of the files."""
    files = {"certificate": issued.certificate, "key": issued.key, "ca": authority.certificate}
    return ListenerTls(**{key: Path(shutil.copy(path, tmp_path / f"{key}.pem")) for key, path in files.items()})


def fault(settings: ListenerTls, now: float | None = None) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        load(settings, time.time() if now is None else now)
    assert caught.value.exit_code is ExitCode.CONFIGURATION
    return caught.value


def test_good_files_are_good_until_the_certificate_ends(settings: ListenerTls) -> None:
    assert load(settings, time.time()).until == pytest.approx(time.time() + 5 * 86400, abs=600)


@pytest.mark.parametrize("key", ["certificate", "key", "ca"])
def test_a_missing_file_is_named_with_its_key(settings: ListenerTls, key: str) -> None:
    getattr(settings, key).unlink()
    found = fault(settings)
    assert str(found).startswith(f"listener.tls.{key} {getattr(settings, key)}: No such file or directory; needed: ")
    assert found.code == "unreadable"


@pytest.mark.parametrize(
    ("key", "code"), [("certificate", "no_certificate"), ("key", "no_key"), ("ca", "no_certificate")]
)
@pytest.mark.parametrize("content", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_of_something_else(settings: ListenerTls, key: str, code: str, content: str) -> None:
    getattr(settings, key).write_text(content)
    found = fault(settings)
    assert found.code == code
    assert f"listener.tls.{key} " in str(found)


def test_a_folder_is_no_file(settings: ListenerTls) -> None:
    settings.key.unlink()
    settings.key.mkdir()
    assert fault(settings).code == "unreadable"


@pytest.mark.parametrize("kind", [EC, RSA])
def test_a_key_of_another_certificate(settings: ListenerTls, authority: Authority, kind: tuple[str, ...]) -> None:
    shutil.copy(authority.issue("other", SERVER, kind=kind).key, settings.key)
    found = fault(settings)
    assert found.code == "key_mismatch"
    assert str(settings.certificate) in str(found)
    assert str(settings.key) in str(found)


def test_an_encrypted_key_asks_nobody_for_a_pass_phrase(settings: ListenerTls, issued: Issued) -> None:
    encrypt = ["openssl", "pkey", "-in", str(issued.key), "-aes256", "-passout", "pass:x", "-out", str(settings.key)]
    subprocess.run(encrypt, check=True, capture_output=True)
    assert fault(settings).code == "key_encrypted"


def replace(settings: ListenerTls, other: Issued) -> None:
    Issued(settings.certificate, settings.key).replaced_by(other)


def test_a_weak_key_and_a_client_s_certificate(settings: ListenerTls, authority: Authority) -> None:
    replace(settings, authority.issue("weak", SERVER, kind=("rsa:1024",)))
    assert fault(settings).code == "too_weak"
    replace(settings, authority.issue("client"))
    assert fault(settings).code == "not_accepted"


def test_a_certificate_out_of_its_time_is_refused_with_its_date(settings: ListenerTls) -> None:
    ends = load(settings, time.time()).until
    assert load(settings, ends).until == ends
    late = fault(settings, ends + 1)
    assert late.code == "expired"
    assert time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ends)) in str(late)
    assert fault(settings, ends - 7 * 86400).code == "not_yet_valid"


# --- what is negotiated ---


def negotiated(settings: ListenerTls, client: Callable[[ssl.SSLContext], Any]) -> tuple[str, str]:
    """Return version and cipher suite of a handshake in memory; ``client`` changes what a caller offers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client(context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = load(settings, time.time()).context.wrap_bio(to_server, to_client, server_side=True)
    caller = context.wrap_bio(to_client, to_server)
    for _ in range(3):
        for side in (caller, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    suite = caller.cipher()
    assert suite is not None
    return suite[1], suite[0]


def offering(*suites: str) -> Callable[[ssl.SSLContext], None]:
    def change(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(":".join((*suites, "@SECLEVEL=0")))

    return change


def without_certificates(settings: ListenerTls, profile: str) -> ListenerTls:
    return settings.model_copy(update={"require_client_certificate": False, "ca": None, "profile": profile})


@pytest.mark.parametrize("profile", CIPHER_SUITES)
def test_tls_1_3_is_preferred(settings: ListenerTls, profile: str) -> None:
    relaxed = without_certificates(settings, profile)
    assert negotiated(relaxed, lambda _: None) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")


@pytest.mark.parametrize(("profile", "suite"), [(p, s) for p, suites in CIPHER_SUITES.items() for s in suites])
def test_every_suite_of_a_profile_is_negotiated(settings: ListenerTls, rsa: Issued, profile: str, suite: str) -> None:
    if "-RSA-" in suite:
        replace(settings, rsa)
    assert negotiated(without_certificates(settings, profile), offering(suite)) == ("TLSv1.2", suite)


@pytest.fixture(scope="module")
def rsa(authority: Authority) -> Issued:
    """A server's certificate with an RSA key."""
    return authority.issue("rsa", SERVER, kind=RSA)


@pytest.mark.parametrize(
    ("profile", "suite"),
    [
        ("bcp195", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("bcp195", "ECDHE-ECDSA-AES128-CCM"),
        *[(p, s) for p in CIPHER_SUITES for s in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384")],
    ],
)
def test_a_suite_outside_the_profile_is_not(settings: ListenerTls, profile: str, suite: str) -> None:
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        negotiated(without_certificates(settings, profile), offering(suite))


def test_rsa_key_transport_and_dhe_are_not(settings: ListenerTls, rsa: Issued) -> None:
    replace(settings, rsa)
    for suite in ("AES256-GCM-SHA384", "DHE-RSA-AES256-GCM-SHA384"):
        with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
            negotiated(without_certificates(settings, "bcp195"), offering(suite))


def test_the_server_s_order_counts(settings: ListenerTls) -> None:
    weakest_first = offering("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert negotiated(without_certificates(settings, "bcp195"), weakest_first)[1] == "ECDHE-ECDSA-AES256-GCM-SHA384"
