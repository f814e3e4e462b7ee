"""The options of one layer. Each is asked for by its handler; what is left over and could change the result is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from training_export.network_refusal import NetworkRefusedError, Reason

# Options of training, or of names: they never change what a trained network answers.
HARMLESS = re.compile(
    r"name|trainable|batch_input_shape|batch_size|input_shape|dtype|data_format|seed|noise_shape|momentum|"
    r"\w+_(?:initializer|regularizer|constraint)"
)
SINGLE_PRECISION = (None, "float32")
MAX_STEP = 4096  # of kernels, strides, dilations and paddings, in pixels


class Options:
    """What a layer's configuration says, checked on the way."""

    def __init__(self, label: str, config: Mapping[str, Any]) -> None:
        self.label = label
        self._config = config
        self._asked: set[str] = set()

    def flag(self, key: str, default: bool) -> bool:
        """Return a truth value."""
        value = self._take(key, default)
        return value if isinstance(value, bool) else self.refuse(key, value, "true or false")

    def number(self, key: str, default: float) -> float:
        """Return a finite number; old versions write ``{"type": "ndarray", "value": 0.3}``."""
        value = self._take(key, default)
        if isinstance(value, dict) and value.get("type") == "ndarray":
            value = value.get("value")
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        return self.refuse(key, value, "a finite number")

    def limit(self, key: str) -> float | None:
        """Return a number, or None where there is none."""
        return None if self._take(key, None) is None else self.number(key, 0.0)

    def count(self, key: str, default: int | None = None) -> int:
        """Return a whole number of at least 1."""
        value = self._take(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1 << 24:
            return value
        return self.refuse(key, value, "a whole number of at least 1")

    def choice(self, key: str, allowed: tuple[Any, ...], default: Any) -> Any:
        """Return one of the allowed values."""
        value = self._take(key, default)
        if any(value == one and type(value) is type(one) for one in allowed):
            return value
        return self.refuse(key, value, " or ".join(map(repr, allowed)))

    def pair(self, key: str, default: tuple[int, int] | None) -> tuple[int, int]:
        """Return rows and columns, given as two numbers or as one for both."""
        value = self._take(key, list(default) if default is not None else None)
        match [value, value] if _is_step(value) else value:
            case [rows, columns] if _is_step(rows) and _is_step(columns) and rows and columns:
                return rows, columns
        return self.refuse(key, value, "two whole numbers of at least 1")

    def raw(self, key: str, default: Any = None) -> Any:
        """Return a value that the handler checks itself."""
        return self._take(key, default)

    def finish(self) -> None:
        """Refuse what no handler asked for, another order of the axes, and another precision."""
        for key, value in self._config.items():
            if key not in self._asked and not HARMLESS.fullmatch(key):
                self.refuse(key, value, "no such option, as far as this version knows")
        if self._config.get("data_format", "channels_last") != "channels_last":
            self.refuse("data_format", self._config["data_format"], "'channels_last'")
        dtype = self._config.get("dtype")
        if isinstance(dtype, dict):
            dtype = (dtype.get("config") or {}).get("name", dtype)
        if dtype not in SINGLE_PRECISION:
            self.refuse("dtype", dtype, "'float32'")

    def refuse(self, key: str, value: Any, needed: str) -> NoReturn:
        """Say which option of which layer is the trouble."""
        raise NetworkRefusedError(
            Reason.NOT_SUPPORTED, f"{self.label}: {key[:80]} is {str(value)[:120]!r}; needed: {needed}"
        )

    def _take(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        return self._config.get(key, default)


def padding_pairs(options: Options) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return ``padding`` of ZeroPadding2D: one number, (rows, columns) or ((top, bottom), (left, right))."""
    value = options.raw("padding", [[1, 1], [1, 1]])
    match value:
        case int(n) if _is_step(n):
            return (n, n), (n, n)
        case [int(rows), int(columns)] if _is_step(rows) and _is_step(columns):
            return (rows, rows), (columns, columns)
        case [[top, bottom], [left, right]] if all(map(_is_step, (top, bottom, left, right))):
            return (top, bottom), (left, right)
    return options.refuse("padding", value, "whole numbers of at least 0")


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_STEP
