"""ResNet-50 with torchvision's parameter names, so that its published weights fit (He et al. 2016, CVPR; version 1.5).

As in torchvision the stride of a block lies in its 3x3 convolution. 161 parameters, 159 buffers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from training_export.class_map_network import ClassMapNetwork

STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, width, stride of the first
STEM = 64
EXPANSION = 4
Tensor = Any  # torch is an optional dependency, so the type checker does not know it


class Bottleneck(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """1x1, 3x3 and 1x1 convolution beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, *, downsample: bool) -> None:
        super().__init__()
        out = width * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)) if downsample else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet50(ClassMapNetwork):
    """Images ``[N, 3, rows, columns]`` to class maps ``[N, classes, rows / 32, columns / 32]``."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, STEM, 7, 2, 3, bias=False), nn.BatchNorm2d(STEM)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = STEM
        for number, (blocks, width, stride) in enumerate(STAGES, 1):
            setattr(self, f"layer{number}", _stage(channels, blocks, width, stride))
            channels = width * EXPANSION
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """Return ``[N, 2048, rows / 32, columns / 32]``."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return the last layer."""
        return self.fc.weight, self.fc.bias


def _stage(channels: int, blocks: int, width: int, stride: int) -> Any:
    first = Bottleneck(channels, width, stride, downsample=True)
    rest = [Bottleneck(width * EXPANSION, width, 1, downsample=False) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
