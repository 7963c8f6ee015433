"""Plain residual networks (He et al., CVPR 2016): z <- z + relu(K z + b), or z <- z + W relu(K z + b)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import linear_maps
from .residual import ResidualBlock, Shape, Terms, residual_network

STABILITY = "none: the Lipschitz constant may grow exponentially with depth"


class PlainBlock(ResidualBlock):
    """One matrix (K), or two (K to `hidden`, W back), with batch normalisation of K z + b on request."""

    def __init__(self, width: int, hidden: int | None, kernel: int | None, batch_norm: bool) -> None:
        """`hidden` None: one matrix."""
        super().__init__()
        rows = width if hidden is None else hidden
        self.inner = linear_maps.initialised(rows, width, kernel)
        self.bias = nn.Parameter(torch.zeros(rows))
        self.outer = None if hidden is None else linear_maps.initialised(width, hidden, kernel)
        norm = nn.BatchNorm1d if kernel is None else nn.BatchNorm2d
        self.norm = norm(rows) if batch_norm else None

    def terms(self) -> Terms:
        """Batch normalisation enters with its running statistics."""
        inner, bias = self.inner, self.bias
        if self.norm is not None:
            assert self.norm.running_var is not None and self.norm.running_mean is not None
            factor = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
            inner = linear_maps.scaled(inner, factor)  # type: ignore[assignment]
            bias = factor * (bias - self.norm.running_mean) + self.norm.bias  # type: ignore[assignment]
        return Terms(inner, bias, self.outer)

    def forward(self, state: Tensor) -> Tensor:
        """One step; batch statistics in training."""
        if self.norm is None or not self.training:
            return super().forward(state)
        hidden = torch.relu(self.norm(linear_maps.apply(self.inner, state, self.bias)))
        return state + (hidden if self.outer is None else linear_maps.apply(self.outer, hidden))

    def halve(self) -> None:
        """Half of W; without W, of K, b or what normalisation makes of them, since the ReLU keeps factors."""
        with torch.no_grad():
            if self.outer is not None:
                self.outer.mul_(0.5)
                return
            for parameter in (self.norm.weight, self.norm.bias) if self.norm is not None else (self.inner, self.bias):
                parameter.mul_(0.5)


def resnet(
    shape: Shape,
    blocks: int,
    outputs: int,
    hidden: int | None = None,
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> nn.Module:
    """One-matrix blocks, or two-matrix blocks through `hidden` features (channels of the first stage)."""

    def block(stage: Shape) -> nn.Module:
        rows = None if hidden is None else stage.rows(hidden)
        return PlainBlock(stage.width, rows, stage.kernel, batch_norm)

    return residual_network(shape, blocks, outputs, block, dropout)
