"""The partition-based formulations between big-M and the convex hull: the inputs of each neuron in N groups.

For h = b + v_1 + ... + v_N, where v_n is the sum of w_i x_i over the inputs of group n and L_n <= v_n <= U_n over their box, each v_n
is split into what an active neuron reads, p_n, and what an inactive one does, q_n:

    v_n = p_n + q_n,   L_n a <= p_n <= U_n a,   L_n (1 - a) <= q_n <= U_n (1 - a),
    z = p_1 + ... + p_N + b a,   -s = q_1 + ... + q_N + b (1 - a),
    0 <= z <= u a,   0 <= s <= -l (1 - a),   a in {0, 1}.

So h = z - s. Tsay, Kronqvist, Thebelt & Misener, "Partition-based formulations for mixed-integer optimization of trained ReLU neural
networks", NeurIPS 2021, section 3 (their sigma is 1 - a, and l <= h <= u is added, which may be narrower than the groups together).
Groups are runs of equal size of the inputs sorted by weight, as there; those of a multiple of N are parts of those of N, hence the
order of the relaxations. N = 1 is big-M with the narrower of l <= h <= u and what the box gives, N = the number of inputs the hull.
"""

from __future__ import annotations

import re

import numpy as np
import scipy.sparse as sp

from ..program import MixedIntegerProgram, ProgramBuilder, selection
from .base import Columns, Neurons, big_m

_UNIT = 2.0**-52


class Partition:
    """At most `groups` groups of inputs a neuron: a neuron of fewer inputs has a group for each."""

    def __init__(self, groups: int) -> None:
        """Take N."""
        self.groups = groups

    def __call__(self, builder: ProgramBuilder, neurons: Neurons) -> Columns:
        """Add the columns and rows of some neurons."""
        node, bias = neurons.node, neurons.before.constant
        big_low, big_high = np.maximum(-neurons.lower, 0), np.maximum(neurons.upper, 0)
        positive, slack, phase = big_m(builder, neurons, big_low, big_high, equation=False)
        sums, owner, part = _grouped(neurons.before.matrix, self.groups)
        low, high = _sides(sums, *builder.sides(sums.shape[1]))
        index, count = np.stack([neurons.index[owner], part], axis=1), len(owner)
        ends = np.minimum(low, 0.0), np.maximum(high, 0.0)
        active = builder.columns(*ends, label=f"active{node}", index=index)
        inactive = builder.columns(*ends, label=f"inactive{node}", index=index)
        rows, one = np.arange(count), np.ones(count)
        shape = (count, builder.count)
        sums.resize(shape)
        split = sums - selection(rows, active, one, shape) - selection(rows, inactive, one, shape)
        builder.rows(split, 0.0, 0.0, f"split{node}", index)
        for columns, total, sign in ((active, positive, -1.0), (inactive, slack, 1.0)):
            # z - sum p - b a = 0, and s + sum q - b a = -b
            entries = selection(owner, columns, np.full(count, sign), (len(neurons), builder.count))
            numbers = np.arange(len(neurons))
            entries = entries + selection(numbers, total, np.ones(len(neurons)), entries.shape)
            entries = entries - selection(numbers, phase, bias, entries.shape)
            side = np.zeros(len(neurons)) if sign < 0 else -bias
            name = f"sum{'on' if sign < 0 else 'off'}{node}"
            builder.rows(entries, side, side, name, neurons.index, neurons.before.loss)
        a = phase[owner]
        for name, end, sense in (("most", high, 1.0), ("least", low, -1.0)):
            used = end != 0  # else the column's own bound says it
            pair = np.concatenate([rows[used], rows[used]])
            for kind, columns, sign in (("on", active, -1.0), ("off", inactive, 1.0)):
                # p <= U a and q + U a <= U; the other way round below
                places = np.concatenate([columns[used], a[used]])
                values = sense * np.concatenate([one[used], sign * end[used]])
                bound = selection(pair, places, values, shape)[used]
                side = np.where(sign > 0, sense * end[used], 0.0)
                builder.rows(bound, -np.inf, side, f"{name}{kind}{node}", index[used])
        return Columns(positive, slack, phase)


def most_groups(program: MixedIntegerProgram) -> int:
    """The largest number of groups that a neuron of a program has; 0 where none is written in groups."""
    blocks = (index for label, index in program.column_names.blocks if re.fullmatch(r"active\d+", label))
    return max((int(index[:, 1].max(initial=-1)) + 1 for index in blocks), default=0)


def _grouped(matrix: sp.csr_matrix, groups: int) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """Rows of a matrix cut into runs of their sorted entries; returns (runs, row of each run, number of each in its row).

    Run n of N holds the entries from floor(n m / N) on, of m in a row: those of a multiple of N lie within those of N.
    """
    matrix = sp.csr_matrix(matrix, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    entries = matrix.tocoo()
    order = np.lexsort((entries.data, entries.row))
    row, column, weight = entries.row[order].astype(np.int64), entries.col[order], entries.data[order]
    sizes = np.diff(matrix.indptr).astype(np.int64)
    place = np.arange(len(row)) - matrix.indptr[row]
    size, most = sizes[row], np.minimum(groups, sizes[row])
    run = ((place + 1) * most + size - 1) // np.maximum(size, 1) - 1
    width = max(int(sizes.max(initial=0)), 1)
    keys, number = np.unique(row * width + run, return_inverse=True)
    return selection(number, column, weight, (len(keys), matrix.shape[1])), keys // width, keys % width


def _sides(sums: sp.csr_matrix, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of sums over a box, rounded outward."""
    plus, minus = sums.maximum(0), sums.minimum(0)
    low, high = plus @ lower + minus @ upper, plus @ upper + minus @ lower
    share = (np.diff(sums.indptr) + 4) * _UNIT
    lower, upper = np.abs(lower), np.abs(upper)
    # a sum of zeros, as outputs of ReLUs give, stays 0: that needs no row
    return low - share * (plus @ lower - minus @ upper), high + share * (plus @ upper - minus @ lower)
