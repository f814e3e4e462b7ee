"""Which keys of a node belong to which transport (``[[sources]]``, ``[[destinations]]``), and what an address may be."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

SOURCE_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {"dimse": ("ae_title", "host", "port"), "dicomweb": ("url",)}
SOURCE_WITHOUT_EFFECT: Final[Mapping[str, tuple[str, ...]]] = {
    "dimse": ("url", "authorization_file"),
    "dicomweb": ("ae_title", "host", "port", "retrieve"),
}
DESTINATION_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {"dimse": ("ae_title", "host", "port"), "stow": ("url",)}
DESTINATION_WITHOUT_EFFECT: Final[Mapping[str, tuple[str, ...]]] = {
    "dimse": ("url", "authorization_file"),
    "stow": ("ae_title", "host", "port"),
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


def check_source(transport: str, keys: Mapping[str, Any]) -> None:
    """Refuse a source that lacks a key of its transport, or has one that would be without effect.

    Raises
    ------
    ValueError
    """
    _check_keys(transport, keys, SOURCE_NEEDED[transport], SOURCE_WITHOUT_EFFECT[transport])
    _check_secrets(keys)


def check_destination(transport: str, keys: Mapping[str, Any]) -> None:
    """Refuse a destination for the same; storage commitment is a service of DIMSE.

    Raises
    ------
    ValueError
    """
    _check_keys(transport, keys, DESTINATION_NEEDED[transport], DESTINATION_WITHOUT_EFFECT[transport])
    if transport == "stow" and keys["storage_commitment"]:
        raise ValueError(
            "storage_commitment is true with transport 'stow', which has none; needed: false, or no such key"
        )
    _check_secrets(keys)


def _check_keys(
    transport: str, keys: Mapping[str, Any], needed: tuple[str, ...], without_effect: tuple[str, ...]
) -> None:
    for key in needed:
        if not keys[key]:
            raise ValueError(f"{key} is missing; needed with transport {transport!r}: {', '.join(needed)}")
    for key in without_effect:
        if keys[key]:
            raise ValueError(f"{key} is without effect with transport {transport!r}; remove the key")


def _check_secrets(keys: Mapping[str, Any]) -> None:
    """Refuse to send what should be secret where everybody can read it."""
    url = urlsplit(keys["url"] or "")
    if url.scheme == "http" and (keys["tls"] or (keys["authorization_file"] and not is_loopback(url.hostname or ""))):
        raise ValueError("url is http, with tls or authorization_file; needed: https")


def is_loopback(host: str) -> bool:
    """Whether a node is on this machine, as written: a name other than localhost is never trusted to be."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
