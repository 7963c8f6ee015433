"""Values of a network's nodes as functions of a program's columns, node after node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, assert_never

import numpy as np
import scipy.sparse as sp
import torch

from ..bounds.rounding import gamma
from ..bounds.underflow import covering, tiny
from ..network.nodes import Affine, Input, Max, Network, Relu
from ..network.operators import Compose, Operator, Transposed
from .expression import Expression
from .program import ProgramBuilder, selection

_SLACK = 1.05  # covers the rounding of the magnitudes themselves
_TINY, _RAISED = tiny(torch.float64), covering(torch.float64)


class Values(Protocol):
    """What neurons are, over the columns so far."""

    def put(self, node: int, columns: np.ndarray) -> None:
        """Learn the columns of a node's values, (size,); -1 where there is none."""

    def take(self, node: int, neurons: np.ndarray) -> Expression:
        """Some neurons of a node."""

    def combine(self, node: int, matrix: np.ndarray) -> Expression:
        """Functions `matrix` (rows, size) of a node's neurons."""


class ComposedValues:
    """Affine nodes are composed with what they read, down to columns: of inputs, ReLUs and maxima, 0 where there is none.

    Products of affine nodes round; what that is worth where entries cancel is counted by magnitudes, as `bounds.rounding` does.
    """

    def __init__(self, network: Network, builder: ProgramBuilder) -> None:
        """Know nothing yet."""
        self._network, self._builder = network, builder
        self._known: dict[int, _Known] = {}

    def put(self, node: int, columns: np.ndarray) -> None:
        """Learn the columns of a node's values, (size,); -1 where there is none."""
        present = np.flatnonzero(columns >= 0)
        shape = (len(columns), self._builder.count)
        matrix = selection(present, columns[present], np.ones(len(present)), shape)
        largest = np.zeros(len(columns))
        largest[present] = np.abs(np.stack(self._builder.sides())).max(0)[columns[present]]
        self._known[node] = _Known(Expression(matrix, np.zeros(len(columns)), np.zeros(len(columns))), largest)

    def take(self, node: int, neurons: np.ndarray) -> Expression:
        """Some neurons of a node."""
        return self._of(node).expression.take(neurons)

    def combine(self, node: int, matrix: np.ndarray) -> Expression:
        """Functions `matrix` (rows, size) of a node's neurons."""
        known, weights = self._of(node), sp.csr_matrix(matrix)
        expression, sizes = known.expression, abs(weights)
        terms = matrix.shape[1] + 2
        loss = gamma(terms, torch.float64) * (sizes @ (known.largest + _RAISED)) + sizes @ expression.loss
        loss = loss + 4 * _TINY * terms * (1 + known.largest.sum() + self._reach(expression))
        return Expression(sp.csr_matrix(weights @ expression.matrix), matrix @ expression.constant, loss * _SLACK)

    def _reach(self, expression: Expression) -> float:
        """What the columns of an expression come to at most, all together: a coefficient that underflows costs a share of that."""
        sides = np.abs(np.stack(self._builder.sides())).max(0)
        present = np.zeros(len(sides), dtype=bool)
        present[expression.matrix.indices] = True
        return float(sides[present].sum())

    def _of(self, i: int) -> _Known:
        if i in self._known:
            return self._known[i]
        node = self._network.nodes[i]
        match node:
            case Affine():
                self._known[i] = self._composed(node)
            case Input() | Relu() | Max():
                raise AssertionError("its columns were put")
            case _:
                assert_never(node)
        return self._known[i]

    def _composed(self, node: Affine) -> _Known:
        """An affine node over columns."""
        count = self._builder.count
        matrix = sp.csr_matrix((node.size, count))
        constant = node.bias.double().cpu().numpy().copy()
        largest, loss, exact = np.abs(constant), np.zeros(node.size), len(node.inputs) == 1
        for j, operator in zip(node.inputs, node.operators, strict=True):
            weight, read = operator.to_sparse(), self._of(j)
            part = weight @ read.expression.matrix
            part.resize((node.size, count))
            matrix, constant = matrix + part, constant + weight @ read.expression.constant
            sizes, lost = _carried(operator, np.stack([read.largest, read.expression.loss]))
            largest, loss = largest + sizes, loss + lost
            exact = (
                exact
                and not isinstance(self._network.nodes[j], Affine)
                and not isinstance(operator, Compose | Transposed)
            )
        if not exact:
            terms = sum(2 * operator.fan_in + 2 for operator in node.operators)
            reads = [self._of(j) for j in node.inputs]
            reached = len(reads) + sum(float(read.largest.sum()) + self._reach(read.expression) for read in reads)
            loss = loss + gamma(terms, torch.float64) * (largest + _RAISED) + 8 * _TINY * terms * reached
            loss = loss * _SLACK
        return _Known(Expression(sp.csr_matrix(matrix), constant, loss), largest * _SLACK)


@dataclass(frozen=True, eq=False)
class _Known:
    """A node's values, and what their terms come to at most in absolute terms, over the columns' bounds; (size,)."""

    expression: Expression
    largest: np.ndarray


def _carried(operator: Operator, sizes: np.ndarray) -> np.ndarray:
    """Magnitudes (rows, in_size) through an operator; infinite ones stay so."""
    absolute = operator.absolute.to(torch.float64, torch.device("cpu"))
    carried = absolute.apply(torch.from_numpy(sizes)).numpy()
    return np.where(np.isnan(carried), np.inf, carried)
