"""A figure that the data do not determine is null in the document, with its reason beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

T = TypeVar("T")
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Interval = tuple[float, float]
CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


class NotEstimableError(Exception):
    """The data do not determine this figure; the text says why, for a person."""


class Reasons:
    """Why figures are null, and what to know of those that are not; each by its place in the document.

    A place is a JSON pointer (RFC 6901), so that names of cohorts cannot be mistaken for keys.
    """

    def __init__(self, place: str = "", shared: Reasons | None = None) -> None:
        self._place = place
        self.not_estimable: list[dict[str, str]] = [] if shared is None else shared.not_estimable
        self.remarks: list[dict[str, str]] = [] if shared is None else shared.remarks

    def at(self, *keys: str) -> Reasons:
        """Return the same record, further down the document."""
        return Reasons(self._pointer(keys), self)

    def of(self, key: str, compute: Callable[[], T]) -> T | None:
        """Return what ``compute`` gives; where it is not estimable, None, and keep the reason."""
        try:
            return compute()
        except NotEstimableError as error:
            self.not_estimable.append({"figure": self._pointer([key]), "reason": str(error)})
            return None

    def remark(self, key: str, text: str) -> None:
        """Keep what a reader must know of a figure."""
        self.remarks.append({"figure": self._pointer([key]), "remark": text})

    def _pointer(self, keys: Sequence[str]) -> str:
        return self._place + "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in keys)


def around(middle: float, standard_error: float) -> Interval:
    """Return the normal interval about ``middle``."""
    return middle - Z * standard_error, middle + Z * standard_error


def two_sided_p(z: float) -> float:
    """Return the two-sided p of a standard normal ``z``, exact in the tail."""
    return float(2.0 * ndtr(-abs(z)))
