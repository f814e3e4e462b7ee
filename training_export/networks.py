"""Small residual networks in the paper's spirit; the paper's own architecture was not published.

Every network ends in feature map -> 1x1 convolution -> spatial mean -> softmax, the form in which the class map *is*
the evidence (docs/reference/science.md G).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

WIDTHS = (16, 32, 64)
DROPOUT = 0.3
Tensor = Any  # torch is an optional dependency, so the type checker does not know it


class ResidualBlock(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """Two 3x3 convolutions beside a shortcut; a stride halves the grid."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels_in, channels_out, stride),
            nn.ReLU(),
            _convolution(channels_out, channels_out),
        )
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else _convolution(channels_in, channels_out, stride, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        return torch.relu(self.body(x) + self.shortcut(x))


class SmallResidualNetwork(nn.Module):  # type: ignore[misc]  # see above
    """Hyper-images ``[N, 3, 64, 64]`` to class maps ``[N, 2, 8, 8]`` whose spatial mean is the logit.

    ``planes`` networks take PET, CT and FUSE as three inputs ``[N, 1, 64, 64]``.
    """

    def __init__(self) -> None:
        super().__init__()
        narrow, middle, wide = WIDTHS
        self.features = nn.Sequential(
            _convolution(3, narrow, stride=2),
            nn.ReLU(),
            ResidualBlock(narrow, narrow),
            ResidualBlock(narrow, middle, stride=2),
            ResidualBlock(middle, middle),
            ResidualBlock(middle, wide, stride=2),
        )
        # Dropping whole feature maps before a linear head is dropout after global average pooling.
        self.dropout = nn.Dropout2d(DROPOUT)
        self.head = nn.Conv2d(wide, 2, kernel_size=1)

    def forward(self, *image: Tensor) -> Tensor:
        """Return the class maps, bias included."""
        x = image[0] if len(image) == 1 else torch.cat(image, dim=1)
        return self.head(self.dropout(self.features(x)))

    def logits(self, *image: Tensor) -> Tensor:
        """Return ``[N, 2]``."""
        return self(*image).mean(dim=(2, 3))


class ServedNetwork(nn.Module):  # type: ignore[misc]  # see above
    """What is exported: ``prob`` ``[N, 2]`` and ``cam`` ``[N, 2, 8, 8]`` of one trained network."""

    def __init__(self, network: SmallResidualNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *image: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and class maps."""
        cam = self.network(*image)
        return torch.softmax(cam.mean(dim=(2, 3)), dim=1), cam


def _convolution(channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3) -> Any:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
    )
