"""ReLUs and maxima as mixed-integer rows.

A ReLU whose bounds are both on one side of 0 needs no binary, an inactive one no column at all; the others are written as a
formulation says (`formulations`).

Maximum over a window: y >= x_i, y <= x_i + (u_max,-i - l_i)(1 - a_i), sum a_i = 1, members that cannot win dropped (Tjeng, Xiao &
Tedrake, ICLR 2019, equations 10 to 12). It is the only formulation of a maximum here.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .expression import Expression, equate, rounded
from .formulations import Formulation, Neurons, get_formulation
from .program import Preactivation, ProgramBuilder, selection
from .values import Values


def encode_relu(
    builder: ProgramBuilder,
    node: int,
    read: int,
    values: Values,
    sides: tuple[np.ndarray, np.ndarray],
    form: Formulation,
) -> tuple[np.ndarray, np.ndarray, list[Preactivation]]:
    """Add the neurons of a layer.

    Args:
        builder: gets columns and rows.
        node: the ReLU node.
        read: what it reads.
        values: of that, over the columns so far.
        sides: bounds of it, (size,) each.
        form: how they are written, with substitution only where `values` substitute.

    Returns:
        The column of each output, or -1; the column of each binary, or -1; and what the neurons with a binary read, if any.
    """
    lower, upper = sides
    size = len(lower)
    positive, phase = np.full(size, -1), np.full(size, -1)
    if form.fix_stable:
        active, inactive = lower >= 0, upper <= 0
        inactive = inactive & ~active
    else:
        active = inactive = np.zeros(size, dtype=bool)
    chosen = np.flatnonzero(active)
    if len(chosen) and not form.substitute:
        ends = np.maximum(lower[chosen], 0), np.maximum(upper[chosen], 0)
        positive[chosen] = builder.columns(*ends, label=f"stable{node}", index=chosen)
        equate(builder, values.take(read, chosen), positive[chosen], None, f"stable{node}", chosen)
    chosen = np.flatnonzero(~active & ~inactive)
    if not len(chosen):
        return positive, phase, []
    largest, before = max(float(np.abs(lower).max()), float(np.abs(upper).max())), values.take(read, chosen)
    columns = get_formulation(form.name)(builder, Neurons(node, chosen, before, lower[chosen], upper[chosen], largest))
    positive[chosen], phase[chosen] = columns.positive, columns.phase
    weights = sp.csr_matrix(before.matrix, copy=True)
    weights.eliminate_zeros()
    return (
        positive,
        phase,
        [Preactivation(read, chosen, weights, before.constant, before.loss, columns.positive, columns.phase)],
    )


def encode_max(
    builder: ProgramBuilder, node: int, before: Expression, lower: np.ndarray, upper: np.ndarray, windows: np.ndarray
) -> np.ndarray:
    """Add the maxima over `windows` (size, members) of a layer; returns the column of each."""
    outputs = builder.columns(lower[windows].max(1), upper[windows].max(1), label=f"max{node}")
    for number, (column, window) in enumerate(zip(outputs, windows, strict=True)):
        members = np.unique(window)
        members = members[upper[members] >= lower[members].max()]
        expression = before.take(members)
        matrix = expression.matrix.copy()
        matrix.resize((len(members), builder.count))
        rows = np.arange(len(members))
        above = matrix - selection(rows, np.full(len(members), column), np.ones(len(members)), matrix.shape)
        index = np.stack([np.full(len(members), number), members], axis=1)
        if len(members) == 1:
            sides = -expression.constant, -expression.constant
            builder.rows(above, *sides, f"only{node}", index, expression.loss)
            continue
        builder.rows(above, -np.inf, -expression.constant, f"above{node}", index, expression.loss)  # x_i - y <= 0
        wins = builder.columns(rows * 0.0, rows * 0.0 + 1.0, integer=True, label=f"wins{node}", index=index)
        others = np.array([np.delete(upper[members], i).max() for i in range(len(members))])
        big = np.maximum(others - lower[members], 0)
        below = -above
        below.resize((len(members), builder.count))
        below = below + selection(rows, wins, big, below.shape)  # y - x_i + big a_i <= big
        loss = expression.loss + rounded(big, expression.constant)
        builder.rows(below, -np.inf, big + expression.constant, f"below{node}", index, loss)
        one = selection(np.zeros(len(members), dtype=int), wins, np.ones(len(members)), (1, builder.count))
        builder.rows(one, 1.0, 1.0, f"one{node}", np.array([number]))
    return outputs
