"""The digest by which two contents that claim one SOP Instance UID are told apart."""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from egfr_dls.spool.contract import Bytes


def content_digest(parts: Iterable[Bytes]) -> str:
    """Return the BLAKE3 digest, 64 hexadecimal digits, of a data set that comes in parts, without file meta information.

    It is made of every byte that is received, so its cost is the indexer's (docs/decisions/0025-content-digest.md).
    """
    digest = blake3()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
