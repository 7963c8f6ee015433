"""Proved bounds on the l2 Lipschitz constant of every node as a function of the input.

A ReLU and a maximum without overlaps have constant 1, an affine node at most the sum over its terms of ||A_j|| L_j. Two
refinements: affine nodes in a row count as one matrix, and a layer of a convex potential y - H^T T relu(H y + b), T >= 0
and diagonal, is ||I - H^T T D H|| <= max(1, |1 - ||sqrt(T) H||^2|) for any slopes D in [0, 1] (Meunier et al., "A
Dynamical System Perspective for Lipschitz Neural Networks", ICML 2022; Araujo et al., "A Unified Algebraic Perspective on
Lipschitz Neural Networks", ICLR 2023); what a file's rounded weights deviate from that form is added.

Spectral norms hold in spite of rounding: s is a bound on the eigenvalues of G when the Cholesky factorisation of
s I - G runs to its end, up to the backward error of that factorisation (Higham, Accuracy and Stability of Numerical
Algorithms, theorem 10.3).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ..network.nodes import Affine, Input, Max, Network, Relu
from ..network.operators import Operator

_DENSE = 2048  # up to so many rows or columns spectral norms are computed
_SMALL = 100  # up to so many rows all eigenvalues cost less than an iteration for the largest
_USELESS = 64.0  # a constant beyond which no box is larger than its ball: what follows is bounded roughly
_UNIT = 2.0**-53
_HUGE = 1e100  # sizes beyond which squares, or products of a few, may be no numbers any more
_TINY_ROOT = 1e-150  # numbers below it may have squares that are 0
_UP = 1 + 1e-12  # covers the few roundings of a product of constants

_known: WeakKeyDictionary[Network, list[float]] = WeakKeyDictionary()


def lipschitz_constants(network: Network) -> list[float]:
    """For each node a bound on |value(x) - value(y)|_2 / |x - y|_2; `network` in float64. Computed once a network."""
    if network not in _known:
        _known[network] = _constants(network)
    return _known[network]


def _constants(network: Network) -> list[float]:
    constants: list[float] = []
    rows: dict[int, tuple[int, _Matrix]] = {}  # an affine node of one term as a matrix times an earlier node
    for i, node in enumerate(network.nodes):
        match node:
            case Input():
                constants.append(1.0)
            case Relu():
                constants.append(constants[node.input])
            case Max():
                overlap = int(torch.bincount(node.windows.flatten()).max())
                constants.append(constants[node.input] * overlap**0.5 * _UP)
            case Affine():
                matrices = [_Matrix.of(operator) for operator in node.operators]
                both = list(zip(node.inputs, matrices, strict=True))
                if max(constants[j] for j in node.inputs) > _USELESS:
                    total = sum(m.rough_norm() * constants[j] for j, m in both) * _UP
                    constants.append(total if np.isfinite(total) else np.inf)
                    continue
                total = sum(m.norm() * constants[j] for j, m in both) * _UP
                if len(matrices) == 1:
                    j, matrix = node.inputs[0], matrices[0]
                    if j in rows:
                        j, matrix = rows[j][0], matrix.after(rows[j][1])
                        total = min(total, matrix.norm() * constants[j] * _UP)
                    rows[i] = j, matrix
                total = min(total, _potential(network, node, matrices, constants))
                constants.append(total if np.isfinite(total) else np.inf)
    return constants


def _potential(network: Network, node: Affine, matrices: list[_Matrix], constants: list[float]) -> float:
    """The constant of y - H^T T relu(H y + b), infinity for what is not of that shape."""
    if len(matrices) != 2:
        return np.inf
    for y, step in ((0, 1), (1, 0)):
        relu, identity, outer = network.nodes[node.inputs[step]], matrices[y], matrices[step]
        if not isinstance(relu, Relu):
            continue
        inner = network.nodes[relu.input]
        if not isinstance(inner, Affine) or inner.inputs != (node.inputs[y],) or not identity.is_identity:
            continue
        h = _Matrix.of(inner.operators[0])
        if not max(h.size, outer.size) < _HUGE:
            return np.inf
        t = h.steps(outer)
        squared = h.scaled(np.sqrt(t)).norm() ** 2 * _UP
        rest = outer.plus(h.scaled(t).transposed())
        return (max(1.0, abs(1 - squared)) + rest.norm() * h.norm()) * constants[node.inputs[y]] * _UP
    return np.inf


class _Matrix:
    """A sparse matrix, and a bound on the Frobenius norm of its distance from the one that it stands for."""

    def __init__(self, entries: Any, error: float = 0.0) -> None:
        self.entries, self.error = entries, error
        self.size: float = float(np.sqrt((entries.data**2).sum())) * _UP + _TINY_ROOT * int(entries.nnz)  # Frobenius

    @classmethod
    def of(cls, operator: Operator) -> _Matrix:
        """The operator's entries; those of compositions and means are rounded."""
        absolute = operator.absolute.to_sparse()
        return cls(operator.to_sparse(), _gamma(operator.fan_in) * float(np.sqrt((absolute.data**2).sum())))

    @property
    def is_identity(self) -> bool:
        """Exactly."""
        n, m = self.entries.shape
        coordinates = self.entries.tocoo()
        on_diagonal = (coordinates.row == coordinates.col).all() and (coordinates.data == 1).all()
        return bool(n == m == coordinates.nnz and on_diagonal and self.error == 0)

    def after(self, first: _Matrix) -> _Matrix:
        """The product self first."""
        rounding = _gamma(self.entries.shape[1]) * self.size * first.size
        error = self.error * (first.size + first.error) + self.size * first.error + rounding
        return _Matrix((self.entries @ first.entries).tocsr(), error * _UP)

    def transposed(self) -> _Matrix:
        """The transpose."""
        return _Matrix(self.entries.T.tocsr(), self.error)

    def steps(self, outer: _Matrix) -> np.ndarray:
        """The t >= 0, one a row, with which -H^T diag(t) comes nearest to another matrix."""
        along = -np.asarray(self.entries.multiply(outer.entries.T).sum(1)).ravel()
        squares = np.asarray(self.entries.multiply(self.entries).sum(1)).ravel()
        return np.asarray(np.maximum(along / np.maximum(squares, 1e-300), 0.0))

    def scaled(self, factors: np.ndarray) -> _Matrix:
        """diag(factors) self, for factors >= 0."""
        import scipy.sparse as sp  # not at the top: it would cost every process a quarter of a second

        largest = float(factors.max(initial=0.0))
        return _Matrix(sp.diags(factors) @ self.entries, largest * (self.error + 2 * _UNIT * self.size) * _UP)

    def plus(self, other: _Matrix) -> _Matrix:
        """The sum."""
        error = self.error + other.error + 2 * _UNIT * (self.size + other.size)
        return _Matrix((self.entries + other.entries).tocsr(), error * _UP)

    def rough_norm(self) -> float:
        """A bound on the largest singular value, from sums of entries; infinite where they are too large for numbers."""
        absolute = abs(self.entries)
        product = float(absolute.sum(0).max()) * float(absolute.sum(1).max())
        bound = min(self.size, float(np.sqrt(product)) * (1 + _gamma(sum(absolute.shape)))) * _UP + self.error
        return bound if np.isfinite(bound) else np.inf

    def norm(self) -> float:
        """A bound on the largest singular value."""
        matrix = self.entries if self.entries.shape[0] <= self.entries.shape[1] else self.entries.T
        if matrix.shape[0] > _DENSE or self.size == 0 or not self.size < _HUGE:
            return self.rough_norm()
        gram = (matrix @ matrix.T).toarray()
        squared = _largest_eigenvalue(gram) + _gamma(matrix.shape[1]) * self.size**2
        return float(np.sqrt(squared)) * _UP + self.error + _TINY_ROOT * int(sum(matrix.shape))


def _largest_eigenvalue(gram: np.ndarray) -> float:
    """A bound on the largest eigenvalue of a symmetric positive semidefinite matrix."""
    n = len(gram)
    guess = _guess(gram)
    for margin in (1e-12, 1e-10, 1e-8, 1e-6):
        bound = guess * (1 + margin * n) + 1e-300
        shifted = bound * np.eye(n) - gram
        try:
            np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            continue
        lost = _gamma(n + 1) / (1 - _gamma(n + 1)) * np.trace(shifted) + 2 * _UNIT * bound
        return float(bound + lost) * _UP
    return float(np.abs(gram).sum(0).max()) * (1 + _gamma(n))


def _guess(gram: np.ndarray) -> float:
    """The largest eigenvalue, approximately."""
    if len(gram) >= _SMALL:
        from scipy.sparse.linalg import ArpackError, eigsh

        with suppress(ArpackError):  # where it does not converge all of them are computed
            return float(eigsh(gram, 1, tol=1e-10, v0=np.ones(len(gram)))[0][0])
    return float(np.linalg.eigvalsh(gram)[-1])


def _gamma(terms: int) -> float:
    return terms * _UNIT / (1 - terms * _UNIT)
