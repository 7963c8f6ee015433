"""Leapfrog: y <- 2 y - y_before - h^2 K^T relu(K y + b), a second-order equation with the state (y, y_before).

Haber & Ruthotto, Inverse Problems 34:014004, 2017, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput

from . import linear_maps
from .residual import ResidualBlock, Shape, Terms, even, residual_network

STABILITY = (
    "reversible; on fixed active units it is stable where h ||K|| <= 2 (then the eigenvalues of a step lie on the unit "
    "circle); no Lipschitz bound follows"
)


class LeapfrogBlock(ResidualBlock):
    """(y, v) <- (2 y - v - h^2 K^T relu(K y + b), y)."""

    skip: Tensor

    def __init__(self, half: int, hidden: int, kernel: int | None, step: float) -> None:
        """`half` is the size of y."""
        super().__init__()
        self.weight = linear_maps.initialised(hidden, half, kernel)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.step = step
        one = linear_maps.identity(linear_maps.empty(half, half, kernel))
        rows = torch.cat((2 * one, -one), 1), torch.cat((one, torch.zeros_like(one)), 1)
        self.register_buffer("skip", torch.cat(rows, 0))

    def terms(self) -> Terms:
        """Embedded into the whole state."""
        back = -self.step * self.step * linear_maps.transposed(self.weight)
        inner = torch.cat((self.weight, torch.zeros_like(self.weight)), 1)
        return Terms(inner, self.bias, torch.cat((back, torch.zeros_like(back)), 0), self.skip)

    def smooth(self) -> tuple[Tensor, ...]:
        """Kernel and bias."""
        return self.weight, self.bias

    def finer_state(self, size: int) -> Tensor:
        """With half the step y_before is half as long ago: the middle of y_before and y."""
        one = torch.eye(size // 2)
        return torch.cat((torch.cat((one, torch.zeros_like(one)), 1), torch.cat((one, one), 1) / 2), 0)


def leapfrog(shape: Shape, blocks: int, outputs: int, hidden: int | None = None, step: float = 0.5) -> nn.Module:
    """`width` (or `channels`) counts y and y_before, both of which the lift makes.

    Raises:
        InvalidInput: an odd width, or a step that is not positive.
    """
    if step <= 0:
        raise InvalidInput(f"leapfrog: step must be above 0, got {step:g}")
    even(shape.width, "leapfrog")

    def block(stage: Shape) -> nn.Module:
        half = stage.width // 2
        return LeapfrogBlock(half, half if hidden is None else stage.rows(hidden), stage.kernel, step)

    return residual_network(shape, blocks, outputs, block)
