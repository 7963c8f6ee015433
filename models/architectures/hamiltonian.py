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

    def __init__(self, weight: nn.Parameter, moves_second: bool, step: float, variant: str) -> None:
        """`weight` is K of the step, (hidden, half) or a kernel of these channels."""
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(weight.shape[0]))
        self.moves_second, self.step, self.variant = moves_second, step, variant

    def terms(self) -> Terms:
        """The first half-step goes down (-h), the second up (+h)."""
        sign = -self.step if self.moves_second else self.step
        if self.variant == "verlet":
            back = sign * linear_maps.identity(self.weight)
        else:
            back = sign * linear_maps.transposed(self.weight)
        nothing_in, nothing_out = torch.zeros_like(self.weight), torch.zeros_like(back)
        parts = (self.weight, nothing_in) if self.moves_second else (nothing_in, self.weight)
        outer = (nothing_out, back) if self.moves_second else (back, nothing_out)
        return Terms(torch.cat(parts, 1), self.bias, torch.cat(outer, 0))

    def smooth(self) -> tuple[Tensor, ...]:
        """Kernel and bias."""
        return self.weight, self.bias


class TransposedHalfStep(HalfStep):
    """The Verlet step that reads with the transpose of its partner's kernel."""

    def terms(self) -> Terms:
        """As `HalfStep`, with K^T."""
        sign = -self.step
        weight = linear_maps.transposed(self.weight)
        back = sign * linear_maps.identity(weight)
        nothing = torch.zeros_like(weight)
        return Terms(torch.cat((weight, nothing), 1), self.bias, torch.cat((torch.zeros_like(back), back), 0))


def hamiltonian(
    image: list[int],
    blocks: int,
    outputs: int,
    width: int | None = None,
    channels: int | None = None,
    hidden: int | None = None,
    step: float = 0.3,
    variant: str = "two-layer",
    stride: int = 1,
    pool: int = 1,
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
    shape = Shape.of(image, width, channels, stride, pool)
    half = even(shape.width, "hamiltonian")
    rows = half if hidden is None else hidden

    def block() -> nn.Module:
        first = linear_maps.initialised(rows, half, shape.kernel)
        if variant == "verlet":
            return nn.Sequential(TransposedHalfStep(first, True, step, variant), HalfStep(first, False, step, variant))
        second = linear_maps.initialised(rows, half, shape.kernel)
        return nn.Sequential(HalfStep(first, True, step, variant), HalfStep(second, False, step, variant))

    return residual_network(shape, blocks, outputs, block)
