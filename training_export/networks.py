"""Networks for hyper-images; the architecture of Mu et al. 2020 was not published (docs/training.md).

Every network ends in feature map -> linear layer -> spatial mean -> softmax, the form in which the class map *is* the
evidence (docs/reference/science.md G).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from training_export.class_map_network import ClassMapNetwork

WIDTHS = (16, 32, 64)
DROPOUT = 0.3
SRESCNN_DROPOUT = 0.5
Tensor = Any  # torch is an optional dependency, so the type checker does not know it


class SmallResidualNetwork(ClassMapNetwork):
    """Hyper-images ``[N, 3, 64, 64]`` to class maps ``[N, 2, 8, 8]``, with 96,082 parameters: the demonstration networks."""

    def __init__(self) -> None:
        super().__init__()
        narrow, middle, wide = WIDTHS
        self.body = nn.Sequential(
            _convolution(3, narrow, stride=2),
            nn.ReLU(),
            ResidualBlock(narrow, narrow),
            ResidualBlock(narrow, middle, stride=2),
            ResidualBlock(middle, middle),
            ResidualBlock(middle, wide, stride=2),
        )
        # Dropping whole feature maps before a linear head is dropout after global average pooling.
        self.dropout = nn.Dropout2d(DROPOUT)
        self.head = nn.Linear(wide, 2)

    def features(self, x: Tensor) -> Tensor:
        """Return ``[N, 64, 8, 8]``."""
        return self.dropout(self.body(x))

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return the head."""
        return self.head.weight, self.head.bias


class SResCNN(ClassMapNetwork):
    """Hyper-images ``[N, 3, 64, 64]`` to class maps ``[N, 2, 8, 8]`` by 256 features, as the paper has them.

    The layers are a third party's reading of the paper, in its spirit and no more (docs/reference/science.md A8): two grids
    of 8 features, to each of which the image itself is added by a 1x1 convolution, then 8x8 places with 16 to 256 features.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(_convolution(3, 8, stride=2), nn.ReLU(), JoinedBlock(8, 8), JoinedBlock(8, 8))
        self.image_by_2 = nn.Conv2d(3, 8, kernel_size=1, stride=2)
        self.second = nn.Sequential(JoinedBlock(16, 8, stride=2), JoinedBlock(8, 8))
        self.image_by_4 = nn.Conv2d(3, 8, kernel_size=1, stride=4)
        self.third = nn.Sequential(
            JoinedBlock(16, 16, stride=2), JoinedBlock(16, 16), JoinedBlock(16, 128), JoinedBlock(128, 256)
        )
        self.dropout = nn.Dropout2d(SRESCNN_DROPOUT)  # see SmallResidualNetwork
        self.head = nn.Linear(256, 2)

    def features(self, x: Tensor) -> Tensor:
        """Return ``[N, 256, 8, 8]``."""
        first = torch.cat([self.first(x), self.image_by_2(x)], dim=1)
        second = torch.cat([self.second(first), self.image_by_4(x)], dim=1)
        return self.dropout(self.third(second))

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return the head."""
        return self.head.weight, self.head.bias


class ResidualBlock(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """Two 3x3 convolutions beside a shortcut; a stride halves the grid."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = _two_convolutions(channels_in, channels_out, stride)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else _convolution(channels_in, channels_out, stride, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        return torch.relu(self.body(x) + self.shortcut(x))


class JoinedBlock(nn.Module):  # type: ignore[misc]  # see above
    """Two 3x3 convolutions beside a shortcut that is always a convolution; normalised again where they join."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = _two_convolutions(channels_in, channels_out, stride)
        self.shortcut = nn.Sequential(_convolution(channels_in, channels_out, stride, kernel=1), nn.ReLU())
        self.joined = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        return torch.relu(self.joined(self.body(x) + self.shortcut(x)))


class ServedNetwork(nn.Module):  # type: ignore[misc]  # see above
    """What is exported: ``prob`` ``[N, 2]`` and ``cam`` ``[N, 2, h, w]`` of one trained network."""

    def __init__(self, network: ClassMapNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *image: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and class maps."""
        cam = self.network(*image)
        return torch.softmax(cam.mean(dim=(2, 3)), dim=1), cam


def _two_convolutions(channels_in: int, channels_out: int, stride: int) -> Any:
    return nn.Sequential(
        _convolution(channels_in, channels_out, stride), nn.ReLU(), _convolution(channels_out, channels_out)
    )


def _convolution(channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3) -> Any:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
    )
