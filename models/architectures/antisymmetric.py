"""Antisymmetric forward Euler: z <- z + h relu((K - K^T - gamma I) z / 2 + b).

Haber & Ruthotto, "Stable architectures for deep neural networks", Inverse Problems 34:014004, 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput

from . import linear_maps
from .residual import ResidualBlock, Shape, Terms, residual_network

STABILITY = (
    "the field's matrix has eigenvalues of real part -gamma/2, so trajectories neither grow nor die out in continuous "
    "time; no Lipschitz bound follows, since the ReLU's Jacobian D (K - K^T - gamma I) is not normal"
)


class AntisymmetricBlock(ResidualBlock):
    """h relu(A z + b) = relu(h A z + h b), so that one layer is enough."""

    def __init__(self, width: int, kernel: int | None, step: float, gamma: float) -> None:
        """`step` is h."""
        super().__init__()
        self.weight = linear_maps.initialised(width, width, kernel)
        self.bias = nn.Parameter(torch.zeros(width))
        self.step, self.gamma = step, gamma

    def field(self) -> Tensor:
        """(K - K^T - gamma I) / 2."""
        return 0.5 * (
            self.weight - linear_maps.transposed(self.weight) - self.gamma * linear_maps.identity(self.weight)
        )

    def terms(self) -> Terms:
        """The step is inside the ReLU."""
        return Terms(self.step * self.field(), self.step * self.bias)

    def smooth(self) -> tuple[Tensor, ...]:
        """Kernel and bias."""
        return self.weight, self.bias


def antisymmetric(shape: Shape, blocks: int, outputs: int, step: float = 0.3, gamma: float = 0.1) -> nn.Module:
    """`step` is h of forward Euler.

    Raises:
        InvalidInput: gamma < 0, or a step beyond what the eigenvalue -gamma/2 itself allows.
    """
    if gamma < 0 or step <= 0:
        raise InvalidInput(f"antisymmetric: step must be above 0 and gamma at least 0, got {step:g} and {gamma:g}")
    if step * gamma > 4:
        raise InvalidInput(
            f"antisymmetric: step {step:g} is beyond the stability bound 4/gamma = {4 / gamma:g} of forward Euler"
        )
    return residual_network(shape, blocks, outputs, lambda at: AntisymmetricBlock(at.width, at.kernel, step, gamma))
