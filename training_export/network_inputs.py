"""How the inputs of an imported network are named: one image, or its three planes."""

from __future__ import annotations

from collections.abc import Sequence

from training_export.network_refusal import NetworkRefusedError, Reason

PLANES = ("pet", "ct", "fuse")
Shape = tuple[int, int, int]


def input_names(shapes: Sequence[Shape]) -> tuple[str, ...]:
    """Return ``image``, or ``pet``, ``ct``, ``fuse`` in the order of the file, for inputs (channels, rows, columns)."""
    if len(shapes) == 1:
        return ("image",)
    if len(shapes) == len(PLANES) and len(set(shapes)) == 1 and shapes[0][0] == 1:
        return PLANES
    found = ", ".join(str(list(shape)) for shape in shapes[:6]) or "none"
    raise NetworkRefusedError(
        Reason.NOT_SUPPORTED,
        f"the inputs are {found} (channels, rows, columns); needed: one, or three equal ones of one channel",
    )
