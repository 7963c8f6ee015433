"""Small convolutional ReLU networks."""

from __future__ import annotations

from torch import nn


def conv(image: tuple[int, int, int], channels: list[int], hidden: int, outputs: int) -> nn.Module:
    """3x3 convolutions of stride 2 with the given channels, then one hidden fully connected layer."""
    layers: list[nn.Module] = []
    depth, height, width = image
    for after in channels:
        layers += [nn.Conv2d(depth, after, 3, stride=2, padding=1), nn.ReLU()]
        depth, height, width = after, (height + 1) // 2, (width + 1) // 2
    layers += [nn.Flatten(), nn.Linear(depth * height * width, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers)
