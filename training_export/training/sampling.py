"""Which images an epoch sees, and in which order; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Places = NDArray[np.int64]


def plain(labels: Labels, rng: np.random.Generator) -> Places:
    """Return every image once."""
    return rng.permutation(len(labels))


def balanced(labels: Labels, rng: np.random.Generator) -> Places:
    """Return as many images as there are, half of them of either class: drawn without return while a class lasts."""
    half = -(-len(labels) // 2)
    return rng.permutation(np.concatenate([_drawn(labels, c, half, rng) for c in (0, 1)])[: len(labels)])


def oversampled(labels: Labels, rng: np.random.Generator) -> Places:
    """Return every image, those of the smaller class as often as makes the classes equal."""
    most = max(int((labels == c).sum()) for c in (0, 1))
    return rng.permutation(np.concatenate([_drawn(labels, c, most, rng) for c in (0, 1)]))


SAMPLINGS: Mapping[str, Callable[[Labels, np.random.Generator], Places]] = {
    "plain": plain,
    "balanced": balanced,
    "oversampled": oversampled,
}


def _drawn(labels: Labels, of_class: int, count: int, rng: np.random.Generator) -> Places:
    """Return ``count`` images of a class: whole rounds through it in random order, and a part of one."""
    members = np.flatnonzero(labels == of_class)
    if len(members) == 0:
        return members
    rounds = [rng.permutation(members) for _ in range(-(-count // len(members)))]
    return np.concatenate(rounds)[:count]
