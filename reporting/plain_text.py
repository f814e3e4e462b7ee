"""Text of headers and of people as every VR of text may hold it: no control characters, nothing that cannot be encoded."""

from __future__ import annotations


def plain_text(text: str) -> str:
    """Return the printable characters, with one space for whatever else stood between them (PS3.5 6.1.2.3 and 6.2)."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
