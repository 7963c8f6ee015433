"""Every output is one of the inputs, or zero: transpose, slice, split, zero padding, broadcasting and identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from .base import Operator

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class Select(Operator):
    """y[i] = x[index[i]], or 0 where index[i] is -1; `index` has shape (out_size,)."""

    index: Tensor
    size: int
    is_identity: bool = field(init=False)
    has_gaps: bool = field(init=False)

    def __post_init__(self) -> None:
        """Recognise the identity, which costs nothing to apply."""
        identity = len(self.index) == self.size and bool((self.index.cpu() == torch.arange(self.size)).all())
        object.__setattr__(self, "is_identity", identity)
        object.__setattr__(self, "has_gaps", bool((self.index < 0).any()))

    @classmethod
    def identity(cls, size: int) -> Self:
        """The identity on `size` entries."""
        return cls(torch.arange(size), size)

    @classmethod
    def from_array(cls, index: np.ndarray, size: int) -> Self:
        """From an integer array of any shape, read in row-major order."""
        return cls(torch.from_numpy(np.array(index, dtype=np.int64).ravel()), size)

    @property
    def in_size(self) -> int:
        """Number of inputs."""
        return self.size

    @property
    def out_size(self) -> int:
        """Number of outputs."""
        return int(self.index.shape[0])

    @property
    def fan_in(self) -> int:
        """Nothing is rounded."""
        return 0

    @property
    def fan_out(self) -> int:
        """Sums over the outputs that show the same input."""
        if self.is_identity:
            return 0
        return int(torch.bincount(self.index.clamp(min=0)).max()) if len(self.index) else 0

    def apply(self, x: Tensor) -> Tensor:
        """Gather."""
        if self.is_identity:
            return x
        y = x[..., self.index.clamp(min=0)]
        return y * (self.index >= 0).to(y.dtype) if self.has_gaps else y

    def adjoint(self, y: Tensor) -> Tensor:
        """Scatter and add."""
        if self.is_identity:
            return y
        kept = y * (self.index >= 0).to(y.dtype) if self.has_gaps else y
        return y.new_zeros((*y.shape[:-1], self.size)).index_add(-1, self.index.clamp(min=0), kept)

    def _absolute(self) -> Select:
        """Itself: its entries are 0 and 1."""
        return self

    def squared(self) -> Operator:
        """Itself: its entries are 0 and 1."""
        return self

    def to_sparse(self) -> sp.csr_matrix:
        """0/1 matrix."""
        import scipy.sparse as sp

        index = self.index.cpu().numpy()
        rows = np.flatnonzero(index >= 0)
        return sp.csr_matrix((np.ones(len(rows)), (rows, index[rows])), shape=(self.out_size, self.size))
