"""Hamiltonian networks: the state has halves y and z, and each half is moved by the other alone.

    verlet      z <- z - h relu(K^T y + b);          y <- y + h relu(K z + c)
    two-layer   z <- z - h K1 relu(K1^T y + b);      y <- y + h K2 relu(K2^T z + c)

Haber & Ruthotto, Inverse Problems 34:014004, 2017; Chang et al., "Reversible architectures for arbitrarily deep residual
neural networks", AAAI 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput

from . import linear_maps
from .residual import ResidualBlock, Shape, Terms, even, residual_network

STABILITY = (
    "symplectic: each half-step is a shear of determinant 1, so volumes and backward gradients are kept; no Lipschitz "
    "bound follows"
)
VARIANTS = ("verlet", "two-layer")


class HalfStep(ResidualBlock):
    """Moves one half of the state by a function of the other; the weights are embedded into those of the whole state."""

    def __init__(
        self, weight: nn.Parameter, moves_second: bool, step: float, variant: str, reads_transposed: bool = False
    ) -> None:
        """`weight` is K of the step, (hidden, half) or a kernel of these channels; `reads_transposed` takes its K^T."""
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(weight.shape[1 if reads_transposed else 0]))
        self.moves_second, self.step, self.variant = moves_second, step, variant
        self.reads_transposed = reads_transposed

    def terms(self) -> Terms:
        """The first half-step goes down (-h), the second up (+h)."""
        sign = -self.step if self.moves_second else self.step
        weight = linear_maps.transposed(self.weight) if self.reads_transposed else self.weight
        back = sign * (linear_maps.identity(weight) if self.variant == "verlet" else linear_maps.transposed(weight))
        nothing_in, nothing_out = torch.zeros_like(weight), torch.zeros_like(back)
        parts = (weight, nothing_in) if self.moves_second else (nothing_in, weight)
        outer = (nothing_out, back) if self.moves_second else (back, nothing_out)
        return Terms(torch.cat(parts, 1), self.bias, torch.cat(outer, 0))

    def smooth(self) -> tuple[Tensor, ...]:
        """Kernel and bias."""
        return self.weight, self.bias


def hamiltonian(
    shape: Shape, blocks: int, outputs: int, hidden: int | None = None, step: float = 0.3, variant: str = "two-layer"
) -> nn.Module:
    """`width` (or `channels`) counts both halves; `hidden` is the number of ReLUs of a half-step of the two-layer variant.

    Raises:
        InvalidInput: an odd width, a step that is not positive, or an unknown variant.
    """
    if step <= 0:
        raise InvalidInput(f"hamiltonian: step must be above 0, got {step:g}")
    if variant not in VARIANTS:
        raise InvalidInput(f"hamiltonian: variant is one of {', '.join(VARIANTS)}, got '{variant}'")
    if variant == "verlet" and hidden is not None:
        raise InvalidInput("hamiltonian: `hidden` belongs to the two-layer variant")
    even(shape.width, "hamiltonian")

    def block(stage: Shape) -> nn.Module:
        half = stage.width // 2
        rows = half if hidden is None else stage.rows(hidden)
        first = linear_maps.initialised(rows, half, stage.kernel)
        if variant == "verlet":
            return nn.Sequential(HalfStep(first, True, step, variant, True), HalfStep(first, False, step, variant))
        second = linear_maps.initialised(rows, half, stage.kernel)
        return nn.Sequential(HalfStep(first, True, step, variant), HalfStep(second, False, step, variant))

    return residual_network(shape, blocks, outputs, block)
