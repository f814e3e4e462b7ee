"""Random changes of a batch of images, on the device where they lie; NumPy draws, so every device sees the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from training_export.training.recipe import Augmentation

Tensor = Any  # torch is an optional dependency, so the type checker does not know it


def augmented(images: Tensor, ranges: Augmentation, rng: np.random.Generator) -> Tensor:
    """Return images ``[n, channels, rows, columns]``, each turned, mirrored, zoomed, shifted and stretched in contrast at random.

    What comes from beyond the edge is the image mirrored there.
    """
    n = len(images)
    if ranges.mirror or ranges.rotation_degrees or ranges.zoom or ranges.shift:
        theta = torch.from_numpy(placements(n, ranges, rng)).to(images.device)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    if ranges.contrast:
        factors = rng.uniform(1 - ranges.contrast, 1 + ranges.contrast, (n, 1, 1, 1)).astype(np.float32)
        middle = images.mean(dim=(2, 3), keepdim=True)
        images = middle + (images - middle) * torch.from_numpy(factors).to(images.device)
    return images


def placements(n: int, ranges: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return ``[n, 2, 3]``: where each new pixel is taken from, in units of half a side (``affine_grid``)."""
    angle = np.radians(rng.uniform(-ranges.rotation_degrees, ranges.rotation_degrees, n))
    size = 1 / rng.uniform(1 - ranges.zoom, 1 + ranges.zoom, n)
    mirror = rng.choice([-1.0, 1.0], (2, n)) if ranges.mirror else np.ones((2, n))
    shift = 2 * rng.uniform(-ranges.shift, ranges.shift, (2, n))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # [2, 2, n]
    linear = turn * (size * mirror)[None, :, :]
    return np.concatenate([linear, shift[:, None, :]], axis=1).transpose(2, 0, 1).astype(np.float32)


def mixed_up(images: Tensor, targets: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return every image blended with another of the batch, and its target likewise (Zhang et al. 2018, arXiv:1710.09412).

    As in fast.ai each image has its own share, and the larger one is its own.
    """
    share = rng.beta(alpha, alpha, len(images)).astype(np.float32)
    own = torch.from_numpy(np.maximum(share, 1 - share)).to(images.device)
    other = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    of_image, of_target = own[:, None, None, None], own[:, None]
    return (
        of_image * images + (1 - of_image) * images[other],
        of_target * targets + (1 - of_target) * targets[other],
    )
