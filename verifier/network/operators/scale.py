"""Multiplication of every entry by a constant of its own (normalisation, unfolded BatchNorm, negation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from .base import Operator

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class Scale(Operator):
    """y = factor * x, `factor` of shape (size,)."""

    factor: Tensor

    @property
    def in_size(self) -> int:
        """Size."""
        return int(self.factor.shape[0])

    @property
    def out_size(self) -> int:
        """Size."""
        return int(self.factor.shape[0])

    @property
    def fan_in(self) -> int:
        """One product."""
        return 1

    @property
    def fan_out(self) -> int:
        """One product."""
        return 1

    def apply(self, x: Tensor) -> Tensor:
        """Entrywise product."""
        return x * self.factor

    def adjoint(self, y: Tensor) -> Tensor:
        """Entrywise product (a diagonal matrix is symmetric)."""
        return y * self.factor

    def _absolute(self) -> Scale:
        """Absolute factors."""
        return Scale(self.factor.abs())

    def squared(self) -> Operator:
        """Squared factors."""
        return Scale(self.factor**2)

    def to_sparse(self) -> sp.csr_matrix:
        """Diagonal matrix."""
        import scipy.sparse as sp

        return sp.csr_matrix(sp.diags(self.factor.double().cpu().numpy()))
