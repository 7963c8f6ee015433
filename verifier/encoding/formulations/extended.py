"""The extended formulation: the convex hull of a ReLU over the box of its inputs, with a copy of each input.

For h = w x + b over a box low <= x <= high, cut by l <= h <= u, x is the sum of y, which an active neuron reads, and x - y, which an
inactive one does:

    low a <= y <= high a,   low (1 - a) <= x - y <= high (1 - a),
    z = w y + b a,   h = z - s,
    0 <= z <= u a,   0 <= s <= -l (1 - a),   a in {0, 1}.

This is Balas' union of two polyhedra, the active and the inactive side of the box; Anderson, Huchette, Ma, Tjandraatmadja & Vielma,
"Strong mixed-integer programming formulations for trained neural networks", Mathematical Programming 2020, name it the ideal extended
formulation of a ReLU. Projected onto (x, z) it is the hull itself, and so it is with the exponentially many rows of
`ideal_relu` instead; it is a column and up to four rows for every weight.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from ..program import ProgramBuilder, selection
from .base import Columns, Neurons, big_m


class Extended:
    """A copy of every input of every neuron."""

    def __call__(self, builder: ProgramBuilder, neurons: Neurons) -> Columns:
        """Add the columns and rows of some neurons."""
        node = neurons.node
        big_low, big_high = np.maximum(-neurons.lower, 0), np.maximum(neurons.upper, 0)
        positive, slack, phase = big_m(builder, neurons, big_low, big_high)
        weights = sp.csr_matrix(neurons.before.matrix, copy=True)
        weights.sum_duplicates()
        weights.eliminate_zeros()
        entries = weights.tocoo()
        owner, x, w = entries.row, entries.col, entries.data
        lower, upper = builder.sides(weights.shape[1])
        low, high = lower[x], upper[x]
        index, count = np.stack([neurons.index[owner], x], axis=1), len(x)
        y = builder.columns(np.minimum(low, 0.0), np.maximum(high, 0.0), label=f"copy{node}", index=index)
        numbers, shape = np.arange(len(neurons)), (len(neurons), builder.count)
        total = selection(numbers, positive, np.ones(len(neurons)), shape) - selection(owner, y, w, shape)
        total = total - selection(numbers, phase, neurons.before.constant, shape)
        builder.rows(total, 0.0, 0.0, f"sum{node}", neurons.index, neurons.before.loss)
        rows, one, a = np.arange(count), np.ones(count), phase[owner]
        for name, end, sense in (("most", high, 1.0), ("least", low, -1.0)):
            used = np.flatnonzero(end)  # else the bound of the copy says it
            bound = selection(
                np.concatenate([rows, rows]),
                np.concatenate([y, a]),
                np.concatenate([one, -end]),
                (count, builder.count),
            )
            builder.rows(sense * bound[used], -np.inf, 0.0, f"{name}on{node}", index[used])  # y <= high a
            rest = selection(rows, x, one, bound.shape) - bound
            builder.rows(sense * rest, -np.inf, sense * end, f"{name}off{node}", index)  # x - y + high a <= high
        return Columns(positive, slack, phase)
