"""Finds a layer's weights in the file and holds their shapes against the architecture. Each weight has one owner."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training_export.keras_import.container import Weights
from training_export.network_refusal import NetworkRefusedError, Reason


class Claims:
    """Which layer took which weight, over the whole file."""

    def __init__(self, file: Mapping[str, Weights]) -> None:
        self._file = file
        self._owners: dict[tuple[str, str], tuple[str, ...]] = {}

    def group(self, name: str) -> Weights:
        """Return the weights of one outermost layer; a layer without weights need not be listed."""
        return self._file.get(name, {})

    def claim(self, group: str, name: str, owner: tuple[str, ...]) -> None:
        """Note an owner; refuse a second one, since a weight of two layers was found for the wrong one."""
        if self._owners.setdefault((group, name), owner) != owner:
            raise NetworkRefusedError(
                Reason.WEIGHTS_DISAGREE, f"weight {name} of group {group} fits two layers: {owner[-1]} is the second"
            )

    def refuse_leftovers(self) -> None:
        """Refuse weights that no layer took in a group of which some were: the architecture is not that of the file."""
        for group in {group for group, _ in self._owners}:
            left = [name for name in self._file[group] if (group, name) not in self._owners]
            if left:
                raise NetworkRefusedError(
                    Reason.WEIGHTS_DISAGREE,
                    f"group {group} holds {left[0][:200]}, which no layer of the architecture uses",
                )


class LayerWeights:
    """The weights of one layer.

    ``path`` holds the names of the models that it lies in, the outermost first, and its own. The file keeps weights by the
    outermost of them, under ``scope/kernel:0``, where the scope is the layer's name or that with a number behind it.
    """

    def __init__(self, claims: Claims, path: tuple[str, ...]) -> None:
        self._claims = claims
        self._path = path

    def take(self, leaf: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a weight by its last name (``kernel``), which must have this shape."""
        name = self._find(leaf)
        array = self._claims.group(self._path[0])[name]
        if array.shape != shape:
            raise NetworkRefusedError(
                Reason.WEIGHTS_DISAGREE,
                f"layer {self._path[-1]}: weight {name} is {list(array.shape)}; the architecture needs {list(shape)}",
            )
        self._claims.claim(self._path[0], name, self._path)
        return array

    def _find(self, leaf: str) -> str:
        names = [n for n in self._claims.group(self._path[0]) if _leaf(n) == leaf]
        if len(self._path) > 1:
            exact = [n for n in names if self._path[-1] in n.split("/")[:-1]]
            numbered = re.compile(re.escape(self._path[-1]) + r"_\d+")
            names = exact or [n for n in names if any(numbered.fullmatch(part) for part in n.split("/")[:-1])]
        if len(names) != 1:
            found = "is missing" if not names else f"is there {len(names)} times"
            raise NetworkRefusedError(
                Reason.WEIGHTS_DISAGREE, f"layer {'/'.join(self._path)}: weight {leaf} {found}; needed: once"
            )
        return names[0]


def _leaf(name: str) -> str:
    return name.rsplit("/", 1)[-1].split(":", 1)[0]
