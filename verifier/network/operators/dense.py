"""A matrix applied to the last axis of each of `repeat` rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .base import Operator

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class Dense(Operator):
    """y[r] = W x[r] for r < repeat; `weight` has shape (out, in). `repeat` is 1 for an ordinary dense layer."""

    weight: Tensor
    repeat: int = 1

    @property
    def in_size(self) -> int:
        """repeat * in."""
        return self.repeat * int(self.weight.shape[1])

    @property
    def out_size(self) -> int:
        """repeat * out."""
        return self.repeat * int(self.weight.shape[0])

    @property
    def fan_in(self) -> int:
        """A product and a sum for each column of the weight."""
        return int(self.weight.shape[1]) + 1

    @property
    def fan_out(self) -> int:
        """A product and a sum for each row of the weight."""
        return int(self.weight.shape[0]) + 1

    def apply(self, x: Tensor) -> Tensor:
        """Matrix product."""
        if self.repeat == 1:
            return torch.matmul(x, self.weight.T)
        rows = x.unflatten(-1, (self.repeat, int(self.weight.shape[1])))
        return torch.matmul(rows, self.weight.T).flatten(-2)

    def adjoint(self, y: Tensor) -> Tensor:
        """Product with the transpose."""
        if self.repeat == 1:
            return torch.matmul(y, self.weight)
        rows = y.unflatten(-1, (self.repeat, int(self.weight.shape[0])))
        return torch.matmul(rows, self.weight).flatten(-2)

    def _absolute(self) -> Dense:
        """Absolute weights."""
        return Dense(self.weight.abs(), self.repeat)

    def squared(self) -> Operator:
        """Squared weights."""
        return replace(self, weight=self.weight**2)

    def to_sparse(self) -> sp.csr_matrix:
        """Block diagonal of the weight."""
        import scipy.sparse as sp

        block = sp.csr_matrix(self.weight.double().cpu().numpy())
        return sp.csr_matrix(sp.kron(sp.identity(self.repeat), block)) if self.repeat > 1 else block
