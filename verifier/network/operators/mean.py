"""Mean over some axes of a tensor (ReduceMean, GlobalAveragePool)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .base import Compose, Operator
from .scale import Scale

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class MeanAxes(Operator):
    """Mean of a tensor of shape `shape` over `axes`."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def in_size(self) -> int:
        """Entries of the tensor."""
        return prod(self.shape)

    @property
    def out_size(self) -> int:
        """Entries that are left."""
        return self.in_size // self.count

    @property
    def count(self) -> int:
        """Entries in each mean."""
        return prod(self.shape[a] for a in self.axes)

    @property
    def _negative_axes(self) -> tuple[int, ...]:
        return tuple(a - len(self.shape) for a in self.axes)

    @property
    def fan_in(self) -> int:
        """A sum over the members, and a division."""
        return self.count + 1

    @property
    def fan_out(self) -> int:
        """A division."""
        return 2

    def apply(self, x: Tensor) -> Tensor:
        """Mean."""
        lead = x.shape[:-1]
        return x.reshape(*lead, *self.shape).mean(self._negative_axes).reshape(*lead, self.out_size)

    def adjoint(self, y: Tensor) -> Tensor:
        """Spread evenly."""
        lead = y.shape[:-1]
        kept = tuple(1 if a in self.axes else n for a, n in enumerate(self.shape))
        spread = (y / self.count).reshape(*lead, *kept).expand(*lead, *self.shape)
        return spread.reshape(*lead, self.in_size)

    def _absolute(self) -> MeanAxes:
        """Itself: its entries are not negative."""
        return self

    def squared(self) -> Operator:
        """The mean, divided by the number of entries once more."""
        each = torch.full((self.out_size,), 1.0 / self.count, dtype=torch.float64)
        return Compose((self, Scale(each)))

    def to_sparse(self) -> sp.csr_matrix:
        """1/count at every member of a mean."""
        import scipy.sparse as sp

        kept = tuple(1 if a in self.axes else n for a, n in enumerate(self.shape))
        rows = np.broadcast_to(np.arange(self.out_size).reshape(kept), self.shape).ravel()
        data = np.full(self.in_size, 1.0 / self.count)
        return sp.csr_matrix((data, (rows, np.arange(self.in_size))), shape=(self.out_size, self.in_size))
