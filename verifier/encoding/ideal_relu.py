"""Rows that make a single ReLU's relaxation ideal: Anderson et al., "Strong mixed-integer programming formulations for
trained neural networks" (Mathematical Programming 2020, eq. 7 and proposition 1).

For z = max(0, w x + b) over a box l <= x <= u, with phase a, every set I of inputs gives

    z <= sum over I of w_i (x_i - low_i (1 - a))  +  (b + sum over the others of w_i high_i) a,

low_i the end of the box where w_i x_i is least, high_i the other one. There are exponentially many; the one that a point
violates most is found neuron by neuron in linear time: I holds the inputs for which the first term is the smaller one.
HiGHS takes no cuts from outside, so they are separated in rounds of LPs at the root and handed to it as rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from .program import MixedIntegerProgram, Preactivation, selection

_LEAST = 1e-4
_ROUNDING = 1e-9  # by which rows are loosened, relative to the size of their terms


def separate(
    known: Sequence[Preactivation], program: MixedIntegerProgram, point: np.ndarray, least: float = _LEAST
) -> tuple[sp.csr_matrix, np.ndarray]:
    """The rows `matrix x <= limit` that a point violates, at most one a neuron.

    Args:
        known: what the program's unstable ReLUs read.
        program: its columns and their bounds.
        point: values of all columns, as an LP relaxation attains them.
        least: violation of a row worth adding, relative to the largest value of the neuron's output.
    """
    found = [_violated(reading, program, point, least) for reading in known]
    none = sp.csr_matrix((0, len(program.cost)))
    return sp.csr_matrix(sp.vstack([none, *(m for m, _ in found)])), np.concatenate(
        [np.zeros(0), *(r for _, r in found)]
    )


def _violated(
    reading: Preactivation, program: MixedIntegerProgram, point: np.ndarray, least: float
) -> tuple[sp.csr_matrix, np.ndarray]:
    bias, output, phase = reading.bias, reading.output, reading.phase
    entries = reading.weights.tocoo()
    row, column, w = entries.row, entries.col, entries.data
    low = np.where(w > 0, program.col_lower[column], program.col_upper[column])
    high = np.where(w > 0, program.col_upper[column], program.col_lower[column])
    a = point[phase]
    inside = w * (point[column] - low * (1 - a[row]))
    outside = w * high * a[row]
    chosen = inside < outside
    count = len(bias)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(row, values, minlength=count)

    right = summed(np.minimum(inside, outside)) + bias * a
    violated = point[output] - right > least * np.maximum(program.col_upper[output], 1e-9)
    # z - sum_I w x - (sum_I w low + b + sum_others w high) a <= - sum_I w low, a little looser for rounding
    fixed = summed(np.where(chosen, w * low, 0.0))
    slope = fixed + bias + summed(np.where(chosen, 0.0, w * high))
    size = summed(np.abs(w) * np.maximum(np.abs(low), np.abs(high))) + np.abs(bias)
    numbers = np.arange(count)
    shape = (count, len(program.cost))
    matrix = selection(
        np.concatenate([row[chosen], numbers, numbers]),
        np.concatenate([column[chosen], output, phase]),
        np.concatenate([-w[chosen], np.ones(count), -slope]),
        shape,
    )
    return sp.csr_matrix(matrix[violated]), (-fixed + _ROUNDING * size + reading.loss)[violated]
