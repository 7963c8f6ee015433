"""Values of a network's nodes as functions of a program's columns, node after node."""

from __future__ import annotations

from typing import Protocol, assert_never

import numpy as np
import scipy.sparse as sp

from ..network.nodes import Affine, Input, Max, Network, Relu
from .expression import Expression
from .program import ProgramBuilder, selection


class Values(Protocol):
    """What neurons are, over the columns so far."""

    def put(self, node: int, columns: np.ndarray) -> None:
        """Learn the columns of a node's values, (size,); -1 where there is none."""

    def take(self, node: int, neurons: np.ndarray) -> Expression:
        """Some neurons of a node."""

    def combine(self, node: int, matrix: np.ndarray) -> Expression:
        """Functions `matrix` (rows, size) of a node's neurons."""


class ComposedValues:
    """Affine nodes are composed with what they read, down to columns: of inputs, ReLUs and maxima, 0 where there is none."""

    def __init__(self, network: Network, builder: ProgramBuilder) -> None:
        """Know nothing yet."""
        self._network, self._builder = network, builder
        self._known: dict[int, Expression] = {}

    def put(self, node: int, columns: np.ndarray) -> None:
        """Learn the columns of a node's values, (size,); -1 where there is none."""
        present = np.flatnonzero(columns >= 0)
        shape = (len(columns), self._builder.count)
        matrix = selection(present, columns[present], np.ones(len(present)), shape)
        self._known[node] = Expression(matrix, np.zeros(len(columns)))

    def take(self, node: int, neurons: np.ndarray) -> Expression:
        """Some neurons of a node."""
        return self._of(node).take(neurons)

    def combine(self, node: int, matrix: np.ndarray) -> Expression:
        """Functions `matrix` (rows, size) of a node's neurons."""
        known = self._of(node)
        return Expression(sp.csr_matrix(sp.csr_matrix(matrix) @ known.matrix), matrix @ known.constant)

    def _of(self, i: int) -> Expression:
        if i in self._known:
            return self._known[i]
        node, count = self._network.nodes[i], self._builder.count
        match node:
            case Affine():
                matrix = sp.csr_matrix((node.size, count))
                constant = node.bias.double().cpu().numpy().copy()
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    weight, read = operator.to_sparse(), self._of(j)
                    part = weight @ read.matrix
                    part.resize((node.size, count))
                    matrix, constant = matrix + part, constant + weight @ read.constant
                self._known[i] = Expression(sp.csr_matrix(matrix), constant)
            case Input() | Relu() | Max():
                raise AssertionError("its columns were put")
            case _:
                assert_never(node)
        return self._known[i]
