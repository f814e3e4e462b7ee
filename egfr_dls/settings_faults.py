"""What is said of a wrong configuration: the key, what was found, and the nearest key that there is."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

# Keys of the operator's contract that later versions will serve. Giving one is an error that says so: a setting
# that is silently without effect would be worse.
NOT_IN_THIS_VERSION: dict[str, str] = {
    "inference.precision": "GPU inference",
    "inference.engine_store": "GPU inference",
    "inference.shadow_every": "GPU inference",
    "inference.backend_required": "GPU inference",
    "inference.device_index": "GPU inference",
    "inference.triton_url": "Triton",
    "inference.gpu_preprocessing": "GPU inference",
    "biomarkers.mr_brain_metastasis_egfr": "the brain-metastasis biomarker",
    "http.auth": "the operator's page",
}


def sentence(fault: Mapping[str, Any], root: type[BaseModel]) -> str:
    """Say one fault that pydantic found, by the key's full name.

    Parameters
    ----------
    root
        the model of the whole configuration
    """
    path = [str(part) for part in fault["loc"] if not isinstance(part, int)]
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        if key in NOT_IN_THIS_VERSION:
            return f"{key}: {NOT_IN_THIS_VERSION[key]} is not in this version; remove the key"
        return f"unknown key {key}{nearest(path[-1], list(_fields(root, path[:-1])))}"
    if fault["type"] == "missing":
        return f"{'.'.join([*path, *_required(root, path)])} is missing and must be given"
    if fault["type"] == "value_error":
        return f"{key}: {fault['ctx']['error']}"
    return f"{key}: {fault['msg']}, found {fault['input']!r}"


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the hint that ends a sentence about an unknown word."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _required(root: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the first key that a missing section must have; nothing for a key."""
    return [name for name, field in _fields(root, path).items() if field.is_required()][:1]


def _fields(root: type[BaseModel], path: Sequence[str]) -> dict[str, FieldInfo]:
    """Return the fields of a section; none for a plain key."""
    model: Any = root
    for name in path:
        annotation = model.model_fields[name].annotation
        arguments = getattr(annotation, "__args__", None)  # arrays of tables are tuples of models
        model = arguments[0] if arguments else annotation
    fields: dict[str, FieldInfo] = getattr(model, "model_fields", {})
    return fields
