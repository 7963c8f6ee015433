"""The program that solvers get, as sparse arrays, and the map from its columns back to the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import scipy.sparse as sp

from .ball import QuadraticBall
from .names import Names


@dataclass(frozen=True, eq=False)
class ColumnMap:
    """Where the network's values are among the columns.

    Attributes:
        inputs: columns of the inputs, (n,).
        positive: by ReLU node, column of each neuron's output, -1 where it is 0 or substituted; (size,).
        phase: by ReLU node, column of each neuron's binary, -1 where its phase is fixed; (size,).
        maximum: by node, column of each maximum; (size,).
        select: columns of the binaries that choose a disjunct of the unsafe set (empty when there is one).
        distance: column of the distance where it is one (norms inf and 2), else -1.
    """

    inputs: np.ndarray
    positive: dict[int, np.ndarray] = field(default_factory=dict)
    phase: dict[int, np.ndarray] = field(default_factory=dict)
    maximum: dict[int, np.ndarray] = field(default_factory=dict)
    select: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    distance: int = -1


@dataclass(frozen=True, eq=False)
class Preactivation:
    """What the unstable ReLUs of a node read, as functions of the columns, and the columns of their outputs and phases.

    Attributes:
        node: that they read.
        neurons: which of its neurons.
        weights: (neurons, columns).
        bias: (neurons,).
        loss: by how much that may be off, (neurons,).
        output: columns, (neurons,).
        phase: columns, (neurons,).
    """

    node: int
    neurons: np.ndarray
    weights: sp.csr_matrix
    bias: np.ndarray
    loss: np.ndarray
    output: np.ndarray
    phase: np.ndarray


@dataclass(frozen=True, eq=False)
class MixedIntegerProgram:
    """minimise cost x + x' diag(hessian) x / 2 + offset, row_lower <= A x <= row_upper, col_lower <= x <= col_upper.

    `integer` marks the columns that must be whole. Arrays are float64; A is CSR. `loss` and `row_loss` say by how much
    entries of A and sides of rows may be off, in absolute terms, where they are sums of products: such sums may cancel.
    `preactivations` is what its unstable ReLUs read, node after node; further rows do not change that.
    `ball` is one more row, for solvers that take such: all others see the program without it, which is a relaxation.
    `column_names` and `row_names` are for files and readers; nothing depends on them.
    """

    matrix: sp.csr_matrix
    row_lower: np.ndarray
    row_upper: np.ndarray
    col_lower: np.ndarray
    col_upper: np.ndarray
    cost: np.ndarray
    integer: np.ndarray
    columns: ColumnMap
    hessian: np.ndarray | None = None
    offset: float = 0.0
    loss: sp.csr_matrix | None = None
    row_loss: np.ndarray | None = None
    ball: QuadraticBall | None = None
    preactivations: tuple[Preactivation, ...] = ()
    column_names: Names = field(default_factory=Names)
    row_names: Names = field(default_factory=Names)

    @property
    def binaries(self) -> int:
        """Number of integer columns."""
        return int(self.integer.sum())

    def relaxed(self) -> Self:
        """The LP (or QP) relaxation."""
        return replace(self, integer=np.zeros_like(self.integer))

    def fixed(self, columns: np.ndarray, values: np.ndarray) -> Self:
        """The program with some columns fixed (`fix b`)."""
        lower, upper = self.col_lower.copy(), self.col_upper.copy()
        lower[columns] = values
        upper[columns] = values
        return replace(self, col_lower=lower, col_upper=upper)

    def with_only(self, rows: np.ndarray) -> Self:
        """The program with some of its rows."""
        return replace(
            self,
            matrix=self.matrix[rows],
            row_lower=self.row_lower[rows],
            row_upper=self.row_upper[rows],
            loss=None if self.loss is None else self.loss[rows],
            row_loss=None if self.row_loss is None else self.row_loss[rows],
            row_names=self.row_names.take(rows),
        )

    def with_rows(self, matrix: sp.spmatrix, lower: np.ndarray, upper: np.ndarray) -> Self:
        """The program with more rows."""
        return replace(
            self,
            matrix=sp.csr_matrix(sp.vstack([self.matrix, matrix])),
            row_lower=np.concatenate([self.row_lower, lower]),
            row_upper=np.concatenate([self.row_upper, upper]),
            loss=None if self.loss is None else sp.csr_matrix(sp.vstack([self.loss, sp.csr_matrix(matrix.shape)])),
            row_loss=None if self.row_loss is None else np.concatenate([self.row_loss, np.zeros(len(upper))]),
            row_names=self.row_names.and_more(len(upper)),
        )

    def elastic(self) -> Self:
        """Minimise the largest violation of a row: always feasible; above 0 where this program is infeasible.

        That violation is a column with a bound of its own, so that duals prove something (`solvers.safe_dual`).
        """
        below, above = np.isfinite(self.row_lower), np.isfinite(self.row_upper)
        ones = np.concatenate([np.ones((int(below.sum()), 1)), -np.ones((int(above.sum()), 1))])
        far = np.maximum(np.abs(self.col_lower), np.abs(self.col_upper))
        sides = np.concatenate([self.row_lower[below], self.row_upper[above], np.zeros(1)])
        most = float((abs(self.matrix) @ far).max(initial=0.0)) + float(np.abs(sides).max())
        most = np.inf if np.isnan(most) else most * (1 + 1e-9)
        loss = row_loss = None
        if self.loss is not None:
            loss = sp.csr_matrix(
                sp.hstack([sp.vstack([self.loss[below], self.loss[above]]), sp.csr_matrix(ones.shape)])
            )
        if self.row_loss is not None:
            row_loss = np.concatenate([self.row_loss[below], self.row_loss[above]])
        matrix = sp.hstack([sp.vstack([self.matrix[below], self.matrix[above]]), sp.csr_matrix(ones)])
        return replace(
            self,
            matrix=sp.csr_matrix(matrix),
            row_lower=np.concatenate([self.row_lower[below], np.full(int(above.sum()), -np.inf)]),
            row_upper=np.concatenate([np.full(int(below.sum()), np.inf), self.row_upper[above]]),
            col_lower=np.append(self.col_lower, 0.0),
            col_upper=np.append(self.col_upper, most),
            cost=np.append(np.zeros(len(self.cost)), 1.0),
            integer=np.append(self.integer, False),
            hessian=None,
            ball=None,
            offset=0.0,
            loss=loss,
            row_loss=row_loss,
            column_names=self.column_names.and_more(1),
            row_names=Names(),  # a row with two sides has become two
        )

    def violation(self, x: np.ndarray) -> float:
        """Largest violation of a row, the ball or a column bound by the point x, integrality included."""
        activity = self.matrix @ x
        worst = [0.0]
        for low, value, high in ((self.row_lower, activity, self.row_upper), (self.col_lower, x, self.col_upper)):
            if len(value):
                worst += [float((low - value).max()), float((value - high).max())]
        if self.integer.any():
            worst.append(float(np.abs(x[self.integer] - np.round(x[self.integer])).max()))
        if self.ball is not None:
            worst.append(self.ball.excess(x))
        return max(worst)

    def objective(self, x: np.ndarray) -> float:
        """Value at x."""
        quadratic = 0.0 if self.hessian is None else 0.5 * float((self.hessian * x * x).sum())
        return float(self.cost @ x) + quadratic + self.offset


class ProgramBuilder:
    """Collects columns and rows; everything goes in as arrays, nothing coefficient by coefficient."""

    def __init__(self) -> None:
        """Start empty."""
        self.count = 0
        self._columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._rows: list[tuple[sp.csr_matrix, np.ndarray, np.ndarray, np.ndarray]] = []
        self._column_names: list[tuple[str, np.ndarray]] = []
        self._row_names: list[tuple[str, np.ndarray]] = []
        self._row_count = 0

    def columns(
        self,
        lower: np.ndarray,
        upper: np.ndarray,
        integer: bool = False,
        label: str = "",
        index: np.ndarray | None = None,
    ) -> np.ndarray:
        """New columns; returns their indices.

        Args:
            lower: side, (count,).
            upper: side, (count,).
            integer: whether they must be whole.
            label: what they are called in files; no other columns have it.
            index: their numbers under the label, (count,) or (count, k); from 0 where not given.
        """
        lower, upper = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        self._columns.append((lower, upper, np.full(len(lower), integer)))
        self._column_names.append(_block(label, index, len(lower), ("column", self.count)))
        self.count += len(lower)
        return np.arange(self.count - len(lower), self.count)

    def rows(
        self,
        matrix: sp.spmatrix,
        lower: np.ndarray | float,
        upper: np.ndarray | float,
        label: str = "",
        index: np.ndarray | None = None,
        loss: np.ndarray | None = None,
    ) -> None:
        """New rows lower <= matrix x <= upper, named like columns; the matrix may be narrower than the program is by now.

        `loss` (rows,) says by how much the rows may be off.
        """
        csr = sp.csr_matrix(matrix)
        if csr.shape[0] == 0:
            return
        sides = [np.broadcast_to(np.asarray(side, dtype=np.float64), csr.shape[:1]) for side in (lower, upper)]
        self._rows.append((csr, sides[0], sides[1], np.zeros(csr.shape[0]) if loss is None else loss))
        self._row_names.append(_block(label, index, csr.shape[0], ("row", self._row_count)))
        self._row_count += csr.shape[0]

    def sides(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper sides of the first `count` columns; of all there are so far where not given."""
        sides = [np.concatenate([np.zeros(0), *(c[position] for c in self._columns)])[:count] for position in (0, 1)]
        return sides[0], sides[1]

    def finish(
        self,
        cost: dict[int, float],
        columns: ColumnMap,
        hessian: dict[int, float] | None = None,
        offset: float = 0.0,
        preactivations: Sequence[Preactivation] = (),
        ball: QuadraticBall | None = None,
    ) -> MixedIntegerProgram:
        """The program."""
        n = self.count
        blocks = []
        for csr, *_ in self._rows:
            csr.resize((csr.shape[0], n))
            blocks.append(csr)
        matrix = sp.csr_matrix(sp.vstack(blocks)) if blocks else sp.csr_matrix((0, n))
        matrix.sum_duplicates()
        matrix.eliminate_zeros()

        def gather(position: int) -> np.ndarray:
            return np.concatenate([c[position] for c in self._columns])

        for reading in preactivations:
            reading.weights.resize((len(reading.neurons), n))
        row_loss = np.concatenate([np.zeros(0), *(r[3] for r in self._rows)])
        dense_cost = np.zeros(n)
        for column, value in cost.items():
            dense_cost[column] = value
        diagonal = None
        if hessian:
            diagonal = np.zeros(n)
            for column, value in hessian.items():
                diagonal[column] = value
        return MixedIntegerProgram(
            matrix,
            np.concatenate([r[1] for r in self._rows]) if self._rows else np.zeros(0),
            np.concatenate([r[2] for r in self._rows]) if self._rows else np.zeros(0),
            gather(0),
            gather(1),
            dense_cost,
            gather(2).astype(bool),
            columns,
            diagonal,
            offset,
            row_loss=row_loss if row_loss.any() else None,
            ball=ball,
            preactivations=tuple(preactivations),
            column_names=Names.of(self._column_names),
            row_names=Names.of(self._row_names),
        )


def _block(label: str, index: np.ndarray | None, count: int, unnamed: tuple[str, int]) -> tuple[str, np.ndarray]:
    """A block of names; those without a label are numbered through."""
    if not label:
        return unnamed[0], np.arange(unnamed[1], unnamed[1] + count)
    return label, np.arange(count) if index is None else index


def selection(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """A sparse matrix from coordinates."""
    return sp.csr_matrix((np.asarray(values, dtype=np.float64), (rows, columns)), shape=shape)
