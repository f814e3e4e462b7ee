"""Grey levels and standard scores of one channel (Mu et al. 2020, published code; docs/reference/science.md A2).

All functions take and return float64 ``[rows, columns]`` images and are pure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float64]


def is_flat(image: Image) -> bool:
    """Say whether all pixels are equal, so that no contrast can be normalised."""
    return bool(image.min() == image.max())


def min_max(image: Image) -> Image:
    """Scale to 0..1; a flat image gives zeros."""
    if is_flat(image):
        return np.zeros_like(image)
    scaled: Image = (image - image.min()) / (image.max() - image.min())
    return scaled


def quantise_8bit(image: Image) -> Image:
    """Return grey levels 0..255 of the image's own range, rounded half up."""
    return np.floor(min_max(image) * 255.0 + 0.5)


def resize_nearest(image: Image, size: int) -> Image:
    """Return ``[size, size]`` by ``index(i) = min(floor((i + 0.5) N / size), N - 1)``; 128 to 64: ``[1::2, 1::2]``."""
    rows, columns = (
        np.minimum(np.floor((np.arange(size) + 0.5) * n / size).astype(np.intp), n - 1) for n in image.shape
    )
    return image[np.ix_(rows, columns)]


def floor_second_smallest(image: Image) -> Image:
    """Raise the smallest grey level to the second smallest; fewer than three distinct levels: unchanged."""
    levels = np.unique(image)
    return np.maximum(image, levels[1]) if levels.size >= 3 else image


def z_score(image: Image, ddof: int) -> Image:
    """Return ``(image - mean) / standard deviation``; a flat image gives zeros."""
    if is_flat(image):
        return np.zeros_like(image)
    standardised: Image = (image - image.mean()) / image.std(ddof=ddof)
    return standardised
