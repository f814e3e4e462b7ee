"""A Keras 2.x HDF5 file: the JSON of its architecture and the arrays of its weights. The only importer of h5py.

Only hard links are followed, only plain arrays of numbers are read, and only after their declared size was added up.
The optimiser's weights are never looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from training_export.import_limits import MAX_CONFIG_BYTES, MAX_FILE_BYTES, MAX_NAMES, MAX_PATH_DEPTH
from training_export.network_refusal import NetworkRefusedError, Reason

Weights = Mapping[str, NDArray[np.float32]]
FLOATS = ("f2", "f4", "f8")
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}  # part of the library itself
# What h5py raises for damaged files, besides errors of ours.
DAMAGE = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, OverflowError, SystemError)


@dataclass(frozen=True, eq=False)
class KerasFile:
    """What a file holds: the architecture, and each layer's weights by their name in the file."""

    config: Mapping[str, Any]
    keras_version: str
    weights: Mapping[str, Weights]


def read_keras_file(path: Path) -> KerasFile:
    """Read a whole model that ``model.save()`` of Keras 2.x wrote.

    Raises
    ------
    NetworkRefusedError
        the file is damaged, leads outside itself, is no saved model, or is of another Keras
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _read(file)
    except DAMAGE as error:
        raise NetworkRefusedError(Reason.FILE_UNREADABLE, f"{path.name}: the HDF5 file is damaged: {error}") from error


def _read(file: h5py.File) -> KerasFile:
    config = _config(file)
    root = _member(file, "model_weights", h5py.Group) if file.id.links.exists(b"model_weights") else file
    version = _text(file, "keras_version") or _text(root, "keras_version") or "not stated"
    backend = _text(file, "backend") or _text(root, "backend") or "tensorflow"
    if not version.startswith(("2.", "not stated")):
        raise NetworkRefusedError(Reason.NOT_SUPPORTED, f"keras_version is {version[:40]!r}; needed: 2.x")
    if backend != "tensorflow":
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"backend is {backend[:40]!r}; needed: tensorflow, whose kernels are not flipped"
        )
    budget = _Budget()
    weights = {name: _layer_weights(root, name, budget) for name in _names(root, "layer_names")}
    return KerasFile(config, version, weights)


class _Budget:
    """Adds up what weights declare, so that a small compressed file cannot become a large array."""

    def __init__(self) -> None:
        self.left = MAX_FILE_BYTES

    def spend(self, n_bytes: int, name: str) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise NetworkRefusedError(
                Reason.LIMIT_EXCEEDED, f"the weights up to {name} declare more than {MAX_FILE_BYTES >> 20} MB"
            )


def _config(file: h5py.File) -> Mapping[str, Any]:
    text = _text(file, "model_config")
    if text is None:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED,
            "the attribute model_config is missing; needed: a whole model (model.save), not its weights alone",
        )
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NetworkRefusedError(Reason.FILE_UNREADABLE, f"model_config is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise NetworkRefusedError(Reason.FILE_UNREADABLE, "model_config is no JSON object")
    return config


def _layer_weights(root: h5py.Group, layer: str, budget: _Budget) -> Weights:
    group = _walk(root, layer, h5py.Group)
    return {
        name: _array(_walk(group, name, h5py.Dataset), f"{layer}: {name}", budget)
        for name in _names(group, "weight_names")
    }


def _array(dataset: h5py.Dataset, name: str, budget: _Budget) -> NDArray[np.float32]:
    if dataset.dtype.kind + str(dataset.dtype.itemsize) not in FLOATS:
        raise NetworkRefusedError(
            Reason.WEIGHTS_DISAGREE,
            f"{name} is of type {dataset.dtype}; needed: a floating-point number of 16 to 64 bits",
        )
    if dataset.external or dataset.is_virtual:
        raise NetworkRefusedError(Reason.FILE_UNSAFE, f"{name} lies in another file; needed: weights in this file")
    size = math.prod(dataset.shape or ())
    budget.spend(size * dataset.dtype.itemsize, name)
    _check_storage(dataset, name)
    values = np.asarray(dataset[()], np.float64) if dataset.dtype.itemsize == 8 else np.asarray(dataset[()])
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(array).all():
        n = array.size - int(np.isfinite(array).sum())
        raise NetworkRefusedError(Reason.NUMBERS_UNUSABLE, f"{name} holds {n} values that are NaN or beyond float32")
    return array


def _check_storage(dataset: h5py.Dataset, name: str) -> None:
    properties = dataset.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if filters - FILTERS:
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"{name} is packed with HDF5 filter {min(filters - FILTERS)}; needed: gzip or none"
        )
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if chunk > MAX_FILE_BYTES:
        raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"{name} is stored in pieces of {chunk >> 20} MB")


def _walk(group: h5py.Group, path: str, kind: type[Any]) -> Any:
    """Follow a path of names from a group downwards, one hard link after the other."""
    steps = path.split("/")
    if not 1 <= len(steps) <= MAX_PATH_DEPTH or any(step in ("", ".", "..") for step in steps) or "\0" in path:
        raise NetworkRefusedError(Reason.FILE_UNSAFE, f"the name {path[:200]!r} is no plain path inside the file")
    for step in steps[:-1]:
        group = _member(group, step, h5py.Group)
    return _member(group, steps[-1], kind)


def _member(group: h5py.Group, name: str, kind: type[Any]) -> Any:
    links, key = group.id.links, name.encode("utf-8")  # Group.get would follow a link to see whether it leads anywhere
    if not links.exists(key):
        raise NetworkRefusedError(Reason.WEIGHTS_DISAGREE, f"{group.name}/{name} is named, but is not in the file")
    if links.get_info(key).type != h5py.h5l.TYPE_HARD:
        raise NetworkRefusedError(
            Reason.FILE_UNSAFE, f"{group.name}/{name} is a link to elsewhere; needed: what lies in this file"
        )
    found = group[name]
    if not isinstance(found, kind):
        raise NetworkRefusedError(
            Reason.FILE_UNREADABLE, f"{group.name}/{name} is a {type(found).__name__}; needed: a {kind.__name__}"
        )
    return found


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names; Keras cuts long ones into ``weight_names0``, ``weight_names1``, ..."""
    pieces = [attribute] if attribute in group.attrs else list(_pieces(group, attribute))
    if not pieces:
        raise NetworkRefusedError(
            Reason.FILE_UNREADABLE, f"{group.name}: the attribute {attribute} is missing; no file of Keras"
        )
    names = [name for piece in pieces for name in _strings(group, piece)]
    if len(names) > MAX_NAMES:
        raise NetworkRefusedError(Reason.LIMIT_EXCEEDED, f"{group.name}: {attribute} holds {len(names)} names")
    if len(set(names)) != len(names):
        raise NetworkRefusedError(Reason.FILE_UNREADABLE, f"{group.name}: {attribute} holds a name twice")
    return names


def _pieces(group: h5py.Group, attribute: str) -> Iterator[str]:
    for number in range(MAX_NAMES):
        if f"{attribute}{number}" not in group.attrs:
            return
        yield f"{attribute}{number}"


def _text(node: h5py.Group, attribute: str) -> str | None:
    if attribute not in node.attrs:
        return None
    strings = _strings(node, attribute)
    if len(strings) != 1:
        raise NetworkRefusedError(
            Reason.FILE_UNREADABLE, f"the attribute {attribute} holds {len(strings)} texts; needed: one"
        )
    return strings[0]


def _strings(node: h5py.Group, attribute: str) -> list[str]:
    """Return the texts of an attribute, which are bytes or str by version of h5py and of the writer."""
    identity = node.attrs.get_id(attribute)
    if identity.shape == (0,):
        return []  # how an empty list of names is written
    if math.prod(identity.shape or ()) * identity.dtype.itemsize > MAX_CONFIG_BYTES:
        raise NetworkRefusedError(
            Reason.LIMIT_EXCEEDED, f"the attribute {attribute} holds more than {MAX_CONFIG_BYTES >> 20} MB"
        )
    if identity.dtype.kind != "S" and h5py.check_string_dtype(identity.dtype) is None:
        raise NetworkRefusedError(
            Reason.FILE_UNREADABLE, f"the attribute {attribute} is of type {identity.dtype}; needed: text"
        )
    value = node.attrs[attribute]
    items = [value] if isinstance(value, bytes | str) else list(np.ravel(value))
    texts = [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in items]
    if sum(map(len, texts)) > MAX_CONFIG_BYTES:
        raise NetworkRefusedError(
            Reason.LIMIT_EXCEEDED, f"the attribute {attribute} holds more than {MAX_CONFIG_BYTES >> 20} MB"
        )
    return texts
