"""What every network that we train is: images to class maps whose spatial mean is the logit."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

Tensor = Any  # torch is an optional dependency, so the type checker does not know it


class ClassMapNetwork(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """Images ``[N, channels, rows, columns]`` to class maps ``[N, 2, h, w]``, by a linear map of each place's features.

    Networks of the input signature ``planes`` take the channels as inputs of one channel each.
    """

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map."""
        raise NotImplementedError

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return weight ``[2, features]`` and bias ``[2]`` of the last layer."""
        raise NotImplementedError

    def forward(self, *image: Tensor) -> Tensor:
        """Return the class maps, bias included."""
        x = image[0] if len(image) == 1 else torch.cat(image, dim=1)
        weight, bias = self.linear()
        return nn.functional.conv2d(self.features(x), weight[:, :, None, None], bias)

    def logits(self, *image: Tensor) -> Tensor:
        """Return ``[N, 2]``."""
        return self(*image).mean(dim=(2, 3))
