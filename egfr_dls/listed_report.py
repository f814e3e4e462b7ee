"""What is kept of an earlier report that a source listed and did not give: why, and of which study it is.

It lies in the object store where else the report's Part 10 file lies.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class NotFetched:
    """Why an earlier report did not come: a name as of ``source_failed``, never a text of the source."""

    study_instance_uid: str
    not_fetched: str

    def to_bytes(self) -> bytes:
        """Serialise for the object store."""
        return json.dumps(asdict(self)).encode()


def why_not_fetched(kept: bytes) -> NotFetched | None:
    """Return why a report did not come; None where it did: a Part 10 file is no JSON (PS3.10 7.1)."""
    try:
        return NotFetched(**json.loads(kept))
    except (ValueError, TypeError):
        return None
