"""ReLUs and maxima as mixed-integer rows.

ReLU of h in [l, u] with l < 0 < u: h = z - s, z >= 0, s >= 0, z <= u b, s <= -l (1 - b), b binary.
Eliminating s gives Tjeng, Xiao and Tedrake's (ICLR 2019, eq. 6-9) z <= h - l (1 - b), z >= h: the same relaxation
with one dense row a neuron instead of two. A stable ReLU needs no binary, an inactive one no column at all.

Maximum over a window: y >= x_i, y <= x_i + (u_max,-i - l_i)(1 - a_i), sum a_i = 1, members that cannot win dropped
(ibid., eq. 10-12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .program import ProgramBuilder, selection


@dataclass(frozen=True)
class Formulation:
    """How ReLUs are written.

    Attributes:
        symmetric: one M = max |h| for a whole layer on both sides instead of each neuron's l and u (ablation).
        fix_stable: give stable neurons no binary (ablation when False).
    """

    symmetric: bool = False
    fix_stable: bool = True


@dataclass(frozen=True, eq=False)
class Expression:
    """matrix (size, columns so far) times the columns plus constant (size,)."""

    matrix: sp.csr_matrix
    constant: np.ndarray

    def take(self, index: np.ndarray) -> Expression:
        """Some of the entries."""
        return Expression(self.matrix[index], self.constant[index])


def encode_relu(
    builder: ProgramBuilder, before: Expression, lower: np.ndarray, upper: np.ndarray, form: Formulation
) -> tuple[np.ndarray, np.ndarray]:
    """Add the neurons of a layer; returns (column of each output or -1, column of each binary or -1)."""
    size = len(lower)
    positive, phase = np.full(size, -1), np.full(size, -1)
    if form.fix_stable:
        active, inactive = lower >= 0, upper <= 0
        inactive = inactive & ~active
    else:
        active = inactive = np.zeros(size, dtype=bool)
    chosen = np.flatnonzero(active)
    if len(chosen):
        positive[chosen] = builder.columns(np.maximum(lower[chosen], 0), np.maximum(upper[chosen], 0))
        _equal(builder, before.take(chosen), positive[chosen], None)
    chosen = np.flatnonzero(~active & ~inactive)
    if len(chosen):
        low, high = lower[chosen], upper[chosen]
        big_low, big_high = np.maximum(-low, 0), np.maximum(high, 0)
        if form.symmetric:
            largest = max(float(np.abs(lower).max()), float(np.abs(upper).max()))
            big_low = big_high = np.full(len(chosen), largest)
        zero = np.zeros(len(chosen))
        positive[chosen] = builder.columns(zero, big_high)
        slack = builder.columns(zero, big_low)
        phase[chosen] = builder.columns(zero, zero + 1, integer=True)
        _equal(builder, before.take(chosen), positive[chosen], slack)
        rows = np.arange(len(chosen))
        shape = (len(chosen), builder.count)
        pair = np.concatenate([rows, rows])
        on = selection(
            pair, np.concatenate([positive[chosen], phase[chosen]]), np.concatenate([zero + 1, -big_high]), shape
        )
        off = selection(pair, np.concatenate([slack, phase[chosen]]), np.concatenate([zero + 1, big_low]), shape)
        builder.rows(on, -np.inf, 0.0)
        builder.rows(off, -np.inf, big_low)
    return positive, phase


def _equal(builder: ProgramBuilder, before: Expression, positive: np.ndarray, slack: np.ndarray | None) -> None:
    """before = positive - slack."""
    count = len(positive)
    matrix = before.matrix.copy()
    matrix.resize((count, builder.count))
    rows = np.arange(count)
    shape = (count, builder.count)
    matrix = matrix - selection(rows, positive, np.ones(count), shape)
    if slack is not None:
        matrix = matrix + selection(rows, slack, np.ones(count), shape)
    builder.rows(matrix, -before.constant, -before.constant)


def encode_max(
    builder: ProgramBuilder, before: Expression, lower: np.ndarray, upper: np.ndarray, windows: np.ndarray
) -> np.ndarray:
    """Add the maxima over `windows` (size, members) of a layer; returns the column of each."""
    outputs = builder.columns(lower[windows].max(1), upper[windows].max(1))
    for column, window in zip(outputs, windows, strict=True):
        members = np.unique(window)
        members = members[upper[members] >= lower[members].max()]
        expression = before.take(members)
        matrix = expression.matrix.copy()
        matrix.resize((len(members), builder.count))
        rows = np.arange(len(members))
        above = matrix - selection(rows, np.full(len(members), column), np.ones(len(members)), matrix.shape)
        if len(members) == 1:
            builder.rows(above, -expression.constant, -expression.constant)
            continue
        builder.rows(above, -np.inf, -expression.constant)  # x_i - y <= 0
        wins = builder.columns(np.zeros(len(members)), np.ones(len(members)), integer=True)
        others = np.array([np.delete(upper[members], i).max() for i in range(len(members))])
        big = np.maximum(others - lower[members], 0)
        below = -above
        below.resize((len(members), builder.count))
        below = below + selection(rows, wins, big, below.shape)  # y - x_i + big a_i <= big
        builder.rows(below, -np.inf, big + expression.constant)
        one = selection(np.zeros(len(members), dtype=int), wins, np.ones(len(members)), (1, builder.count))
        builder.rows(one, 1.0, 1.0)
    return outputs
