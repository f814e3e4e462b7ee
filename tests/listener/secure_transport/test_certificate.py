"""What a certificate is called: each kind of name, and none that could be taken for another kind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from listener.secure_transport.certificate import distinguished_name, names
from tests.listener.certificates import Authority

SUBJECT = ((("countryName", "DE"),), (("organizationName", "Hospital"),), (("commonName", "Scanner-1"),))


def test_every_kind_of_name_is_there_without_regard_to_case() -> None:
    found = names(
        {
            "subject": SUBJECT,
            "subjectAltName": (
                ("DNS", "CT.example"),
                ("URI", "urn:x:CT"),
                ("IP Address", "192.0.2.1"),
                ("email", "a@b"),
            ),
        }
    )
    assert found == {"scanner-1", "cn=scanner-1,o=hospital,c=de", "ct.example", "urn:x:ct"}


def test_no_certificate_has_no_name() -> None:
    assert names({}) == frozenset()


@pytest.mark.parametrize(
    "certificate",
    [
        {"subject": ((("commonName", "CN=Scanner-1,O=Hospital,C=DE"),),)},
        {"subjectAltName": (("DNS", "CN=Scanner-1,O=Hospital,C=DE"),)},
        {"subjectAltName": (("URI", "CN=Scanner-1,O=Hospital,C=DE"),)},
        {"subject": ((("commonName", "urn:x:ct"),),)},
        {"subjectAltName": (("URI", "scanner-1"),)},
        {"subject": ((("organizationName", "x,CN=Scanner-1,O=Hospital"),), (("countryName", "DE"),))},
    ],
)
def test_a_name_of_one_kind_passes_for_none_of_another(certificate: dict[str, object]) -> None:
    assert not names(certificate) & {"cn=scanner-1,o=hospital,c=de", "urn:x:ct", "scanner-1"}


def test_a_subject_is_written_as_openssl_writes_it(tmp_path: Path) -> None:
    value = 'A+B, "C" <D>; E'
    certificate = (
        Authority(tmp_path).issue("x", subject=f"/C=DE/O={value}/OU=#1/CN= lead ".replace("+", r"\+")).certificate
    )
    asked = ["openssl", "x509", "-in", str(certificate), "-noout", "-subject", "-nameopt", "RFC2253"]
    printed = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    subject = (
        (("countryName", "DE"),),
        (("organizationName", value),),
        (("organizationalUnitName", "#1"),),
        (("commonName", " lead "),),
    )
    assert printed == f"subject={distinguished_name(subject)}"


def test_a_part_of_several_attributes_stays_one() -> None:
    assert distinguished_name((SUBJECT[0], (*SUBJECT[1], *SUBJECT[2]))) == "O=Hospital+CN=Scanner-1,C=DE"
