"""Plain residual networks, fully connected: z <- z + W relu(K z + b) (He et al., CVPR 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """z + W relu(K z + b)."""

    def __init__(self, width: int, hidden: int) -> None:
        """Two matrices: K to `hidden`, W back to `width`."""
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """One residual step."""
        step: Tensor = self.outer(torch.relu(self.inner(z)))
        return z + step


def resnet(inputs: int, width: int, blocks: int, hidden: int, outputs: int) -> nn.Module:
    """Flatten, lift to `width`, residual blocks, linear head."""
    body = [ResidualBlock(width, hidden) for _ in range(blocks)]
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), *body, nn.Linear(width, outputs))
