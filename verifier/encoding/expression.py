"""Affine functions of a program's columns, of which the values of a network's nodes are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .program import ProgramBuilder, selection

_UNIT = 2.0**-52


@dataclass(frozen=True, eq=False)
class Expression:
    """matrix (size, columns so far) times the columns plus constant (size,).

    `loss` (size,) says how far values may be off where the entries are sums of products, at inputs of the program's region.
    """

    matrix: sp.csr_matrix
    constant: np.ndarray
    loss: np.ndarray

    def take(self, index: np.ndarray) -> Expression:
        """Some of the entries."""
        return Expression(self.matrix[index], self.constant[index], self.loss[index])


def rounded(*terms: np.ndarray | float) -> np.ndarray:
    """What the sum of some terms may lose when it is rounded, however much of it cancels."""
    return np.asarray(_UNIT * len(terms) * sum(np.abs(term) for term in terms))


def equate(
    builder: ProgramBuilder,
    before: Expression,
    positive: np.ndarray,
    slack: np.ndarray | None,
    label: str = "",
    index: np.ndarray | None = None,
) -> None:
    """Write before = positive - slack, one row an entry.

    Args:
        builder: gets the rows.
        before: (count,).
        positive: columns, (count,).
        slack: likewise; nothing is subtracted where there is none.
        label: of the rows, and
        index: their numbers, as in `ProgramBuilder.rows`.
    """
    count = len(positive)
    matrix = before.matrix.copy()
    matrix.resize((count, builder.count))
    rows = np.arange(count)
    shape = (count, builder.count)
    matrix = matrix - selection(rows, positive, np.ones(count), shape)
    if slack is not None:
        matrix = matrix + selection(rows, slack, np.ones(count), shape)
    builder.rows(matrix, -before.constant, -before.constant, label, index, before.loss)
