"""What a certificate says (RFC 5280), as ``ssl`` decodes it: the names that it stands for and how long it is good. Pure."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any

# Attribute types as RFC 4514 section 3 writes them; another one stands under OpenSSL's name.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_SPECIAL, _ESCAPED = re.compile(r'([,+"\\<>;]|^[ #]| $)'), r"\\\1"

# A name of one kind can never be read as one of another, whoever chose it: a common name "CN=x,O=y" would be a subject.
_PLAIN = re.compile(r"[^=:]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")

Decoded = Mapping[str, Any]  # of SSLObject.getpeercert()


def names(certificate: Decoded) -> frozenset[str]:
    """Return what a certificate is called, without regard to case: DNS names and URIs of its subject alternative name, the
    common name and the whole subject.
    """
    alternatives = certificate.get("subjectAltName", ())
    subject = certificate.get("subject", ())
    plain = [value for kind, value in alternatives if kind == "DNS"]
    plain += [value for part in subject for kind, value in part if kind == "commonName"]
    found = {name for name in plain if _PLAIN.fullmatch(name)}
    found |= {value for kind, value in alternatives if kind == "URI" and _URI.fullmatch(value)}
    if subject:
        found.add(distinguished_name(subject))
    return frozenset(map(normal, found))


def normal(name: str) -> str:
    """Return the form in which names are compared."""
    return name.strip().casefold()


def distinguished_name(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Return a subject as RFC 4514 writes it: the most specific part first, as ``openssl x509 -nameopt RFC2253`` prints it."""
    return ",".join("+".join(_attribute(*pair) for pair in part) for part in reversed(subject))


def _attribute(kind: str, value: str) -> str:
    return f"{_SHORT.get(kind, kind)}={_SPECIAL.sub(_ESCAPED, value)}"


def good_from(certificate: Decoded) -> float:
    """Return the first moment of a certificate, UTC seconds."""
    return float(ssl.cert_time_to_seconds(certificate["notBefore"]))


def good_until(certificate: Decoded) -> float:
    """Return the last moment of a certificate, UTC seconds."""
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
