"""What a linear operator is, and the two ways to build one from others: composition and transposition."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """A linear map from flat vectors of `in_size` to flat vectors of `out_size`."""

    @property
    @abstractmethod
    def in_size(self) -> int:
        """Number of inputs."""

    @property
    @abstractmethod
    def out_size(self) -> int:
        """Number of outputs."""

    @property
    @abstractmethod
    def fan_in(self) -> int:
        """Most roundings on the way to one entry of `apply`: products and sums, in any order."""

    @property
    @abstractmethod
    def fan_out(self) -> int:
        """Most roundings on the way to one entry of `adjoint`."""

    @property
    def chain(self) -> tuple[Operator, ...]:
        """The operators that it is the product of, the first one applied first; itself alone where it is none."""
        return (self,)

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """A x, for x of shape (..., in_size); returns (..., out_size)."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, for y of shape (..., out_size); returns (..., in_size)."""

    @cached_property
    def absolute(self) -> Operator:
        """An operator whose entries are at least |A|'s; exactly |A| for everything but `Compose`."""
        return self._absolute()

    @abstractmethod
    def _absolute(self) -> Operator:
        """Makes what `absolute` keeps."""

    @abstractmethod
    def squared(self) -> Operator:
        """The operator whose entries are the squares; of a product, the product of those, which is exact for diagonals."""

    @abstractmethod
    def to_sparse(self) -> sp.csr_matrix:
        """A as a scipy CSR matrix of shape (out_size, in_size), float64."""

    def to(self, dtype: torch.dtype, device: torch.device) -> Self:
        """The same operator with its floating-point parameters on another device or in another precision."""

        def convert(value: object) -> object:
            if isinstance(value, Tensor):
                return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            if isinstance(value, Operator):
                return value.to(dtype, device)
            if isinstance(value, tuple):
                return tuple(convert(item) for item in value)
            return value

        fields = {f.name: convert(getattr(self, f.name)) for f in dataclasses.fields(self) if f.init}
        return dataclasses.replace(self, **fields)


@dataclass(frozen=True, eq=False)
class Compose(Operator):
    """factors[-1] ... factors[1] factors[0]: the first factor is applied first."""

    factors: tuple[Operator, ...]

    @property
    def chain(self) -> tuple[Operator, ...]:
        """The factors."""
        return self.factors

    @property
    def in_size(self) -> int:
        """Number of inputs of the first factor."""
        return self.factors[0].in_size

    @property
    def out_size(self) -> int:
        """Number of outputs of the last factor."""
        return self.factors[-1].out_size

    @property
    def fan_in(self) -> int:
        """Those of all factors."""
        return sum(factor.fan_in for factor in self.factors)

    @property
    def fan_out(self) -> int:
        """Those of all factors."""
        return sum(factor.fan_out for factor in self.factors)

    def apply(self, x: Tensor) -> Tensor:
        """Apply the factors in order."""
        for factor in self.factors:
            x = factor.apply(x)
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoints in reverse order."""
        for factor in reversed(self.factors):
            y = factor.adjoint(y)
        return y

    def _absolute(self) -> Operator:
        """Product of the |A_k|: at least |A| entry by entry, equal to it where nothing cancels.

        An interval propagated through it is therefore valid, and exact for selections, scalings and pooling.
        """
        return Compose(tuple(factor.absolute for factor in self.factors))

    def squared(self) -> Operator:
        """Product of the squares."""
        return Compose(tuple(factor.squared() for factor in self.factors))

    def to_sparse(self) -> sp.csr_matrix:
        """Product of the sparse factors."""
        import scipy.sparse as sp

        matrix = self.factors[0].to_sparse()
        for factor in self.factors[1:]:
            matrix = factor.to_sparse() @ matrix
        return sp.csr_matrix(matrix)


@dataclass(frozen=True, eq=False)
class Transposed(Operator):
    """A^T of another operator; a transposed convolution is one."""

    inner: Operator

    @property
    def in_size(self) -> int:
        """Number of outputs of the inner operator."""
        return self.inner.out_size

    @property
    def out_size(self) -> int:
        """Number of inputs of the inner operator."""
        return self.inner.in_size

    @property
    def fan_in(self) -> int:
        """The inner operator's on its other side."""
        return self.inner.fan_out

    @property
    def fan_out(self) -> int:
        """The inner operator's on its other side."""
        return self.inner.fan_in

    def apply(self, x: Tensor) -> Tensor:
        """The inner adjoint."""
        return self.inner.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """The inner map."""
        return self.inner.apply(y)

    def _absolute(self) -> Operator:
        """|A^T| = |A|^T."""
        return Transposed(self.inner.absolute)

    def squared(self) -> Operator:
        """Transpose of the inner squares."""
        return Transposed(self.inner.squared())

    def to_sparse(self) -> sp.csr_matrix:
        """Transpose of the inner matrix."""
        import scipy.sparse as sp

        return sp.csr_matrix(self.inner.to_sparse().T)
