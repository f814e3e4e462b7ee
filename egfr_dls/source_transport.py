"""Which keys of ``[[sources]]`` belong to which transport, and what the address of a DICOMweb service may be."""

from __future__ import annotations

from collections.abc import Mapping, Set
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

NEEDED: Final[Mapping[str, tuple[str, ...]]] = {"dimse": ("ae_title", "host", "port"), "dicomweb": ("url",)}
WITHOUT_EFFECT: Final[Mapping[str, tuple[str, ...]]] = {
    "dimse": ("url", "authorization_file", "tls"),
    "dicomweb": ("ae_title", "host", "port", "retrieve"),
}


def web_address(text: str) -> str:
    """Check the root of a DICOMweb service (PS3.18 8.2), and return it without a slash at its end.

    Raises
    ------
    ValueError
        what is wrong, without the value where it may hold a password
    """
    try:
        parts = urlsplit(text)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_one = SplitResult("", "", "", "", ""), False
    if parts.username is not None or parts.password is not None:
        raise ValueError("url holds a user name; needed: authorization_file")
    is_plain = text.isascii() and text.isprintable() and " " not in text
    if not (is_plain and port_is_one and parts.hostname and parts.scheme in ("http", "https")) or set(text) & set("?#"):
        raise ValueError(f"{text!r} is no address; needed: http(s)://host[:port][/path], nothing behind it")
    return text.rstrip("/")


def check_transport(transport: str, keys: Mapping[str, Any], given: Set[str]) -> None:
    """Refuse a source that lacks a key of its transport, or has one that would be without effect.

    Raises
    ------
    ValueError
    """
    for key in NEEDED[transport]:
        if not keys[key]:
            raise ValueError(f"{key} is missing; needed with transport {transport!r}: {', '.join(NEEDED[transport])}")
    for key in WITHOUT_EFFECT[transport]:
        if key in given:
            raise ValueError(f"{key} is without effect with transport {transport!r}; remove the key")
    url = urlsplit(keys["url"] or "")
    if url.scheme == "http" and (keys["tls"] or (keys["authorization_file"] and not _is_loopback(url.hostname or ""))):
        raise ValueError("url is http, with tls or authorization_file; needed: https")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
