"""Deterministic UIDs: every value that ends in an object's bytes is in its key.

``2.25.`` + the integer of a UUIDv5 over a JSON list (PS3.5 B.2): at most 44 characters, computable without the ledger.
"""

from __future__ import annotations

import json
import uuid

from egfr_dls import PRODUCT_NAME, PRODUCT_VERSION

# Never changes: every UID that left the product was derived under it.
NAMESPACE = uuid.UUID("6f1c4f0e-3f0a-5d8e-9b7e-2d8a51d0e6c1")


def derived_uid(*parts: str | int | None) -> str:
    """Return the UID that belongs to this list of values, always the same."""
    return f"2.25.{uuid.uuid5(NAMESPACE, json.dumps(list(parts))).int}"


def new_uid() -> str:
    """Return a UID that nobody has: of a transaction, never of an object."""
    return f"2.25.{uuid.uuid4().int}"


def series_uid(study_instance_uid: str, biomarker: str, kind: str, *, demonstration: bool) -> str:
    """Return the Series Instance UID of our objects of one kind in one study; the loop guard derives it too."""
    return derived_uid("series", study_instance_uid, biomarker, kind, "demonstration" if demonstration else "real")


def device_uid(weights_sha256: str, product_version: str) -> str:
    """Return the Device Observer UID: a retrained network is a new device."""
    return derived_uid("device", weights_sha256, product_version)


CODING_SCHEME_UID = derived_uid("coding scheme", "99EGFRDLS")

# Who wrote a file or opened an association (PS3.7 D.3.3.2, PS3.10 7.1)
IMPLEMENTATION_CLASS_UID = derived_uid("implementation", PRODUCT_NAME)
IMPLEMENTATION_VERSION_NAME = f"EGFRDLS_{PRODUCT_VERSION}"[:16]

# The kinds of object that the product writes, in their order of sending, with the Series Number (0020,0011) of each.
OBJECT_KINDS: dict[str, int] = {
    "roi": 9001,
    "report": 9000,
    "pages": 9002,
    "single_page": 9003,
    "map": 9004,
    "pdf": 9005,
    "rejection": 9006,
}
