"""What the manifest of an imported network says: what the file told, what the user said, and what fits them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from egfr_dls.errors import UsageError
from inference.models.manifest import Preprocessing

if TYPE_CHECKING:
    from training_export.convert import Converted
    from training_export.reference_scores import Agreement

RECIPE = "mu2020-hyperimage-1"
SERVED_CLASSES = 2
LABELS = {"egfr": ("wild type", "mutant"), "pdl1": ("negative", "positive")}


@dataclass(frozen=True)
class Request:
    """What the command line says of the network, beside its file."""

    name: str
    version: str
    task: str
    preprocessing: str | None
    status: str
    licence: str

    def __post_init__(self) -> None:
        """Refuse what could not stand in a manifest or in a folder's name."""
        check_name("name", self.name)
        check_name("version", self.version)


def check_name(option: str, value: str) -> None:
    """Refuse a name or a version that could not stand in a manifest or in a folder's name."""
    longest = {"name": 64, "version": 32}[option]
    if not re.fullmatch(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{longest - 1}}}", value):
        raise UsageError(
            f"--{option} {value!r}; needed: up to {longest} letters, digits, dots, dashes and underscores, not beginning with "
            "a dot"
        )


def plain_name(stem: str) -> str:
    """Return a package's name made of a file's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip(".")[:64] or "network"


def manifest_facts(converted: Converted, request: Request, agreement: Agreement | None) -> dict[str, Any]:
    """Return the manifest's keys as ``write_package`` takes them; raises UsageError where the recipe cannot fit."""
    recipe = _recipe(converted, request)
    cam = converted.class_map
    two = converted.n_classes == SERVED_CLASSES
    compared = f"; the reference scores differ by {agreement.largest:.3g} at most" if agreement else ""
    return {
        "name": request.name,
        "version": request.version,
        "status": request.status,
        "task": request.task,
        "licence": request.licence,
        "trained_on": "not stated: see the publication of the network",
        "performance": f"not measured here{compared}",
        "source": {**converted.source, **(agreement.facts if agreement else {})},
        "input": {"names": converted.input_names, "shape": converted.input_shape},
        "labels": LABELS[request.task] if two else [f"class {n}" for n in range(converted.n_classes)],
        "preprocessing": recipe.model_dump() if recipe else None,
        "cam": {"output": "cam", "bias": cam.bias, "grid": cam.grid} if cam else None,
        "left_out": converted.left_out,
    }


def _recipe(converted: Converted, request: Request) -> Preprocessing | None:
    """Return how the input is made: as asked, else the published recipe where inputs and classes are its own."""
    channels, rows, columns = converted.input_shape
    default = Preprocessing()
    is_image = channels * len(converted.input_names) == len(default.channels) and rows == columns
    fits = is_image and converted.n_classes == SERVED_CLASSES
    if request.preprocessing == "none" or (request.preprocessing is None and not (fits and rows == default.size)):
        return None
    if not fits:
        raise UsageError(
            f"--preprocessing {RECIPE} needs two classes and three square channels; the network has "
            f"{converted.n_classes} classes and {len(converted.input_names)} inputs of {list(converted.input_shape)}"
        )
    signature = "stacked" if len(converted.input_names) == 1 else "planes"
    return Preprocessing(input_signature=signature, size=rows)
