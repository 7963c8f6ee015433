"""Inputs that a row makes whole: it leaves them their two ends, and nothing between.

A row adds up functions of single inputs, a x + sum of b relu(w x + c), and what other columns bring. Where the least values
of all these come to the row's limit already, each function has to be at its least value; where that is so at the two ends of
an input's range, and only there, the input is one of them, and any of its ReLUs with a kink between says which. Interval
arithmetic does not see it: x - relu(2 x - 1) is at least -1/2 by intervals, and at least 0 in truth.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ..encoding import MixedIntegerProgram

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class WholeInputs:
    """What was found.

    Attributes:
        inputs: each with a phase that says where it is: (input, phase, start, step), input = start + step phase.
        rows: that say so.
        columns: of the outputs and phases of the ReLUs in these rows.
    """

    inputs: tuple[tuple[int, int, float, float], ...]
    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True)
class _Unit:
    """A ReLU of a single input, relu(weight x + bias), with the column of the input and that of its phase."""

    x: int
    weight: float
    bias: float
    phase: int

    @property
    def kink(self) -> float:
        """Where it changes its phase."""
        return -self.bias / self.weight

    def at(self, points: np.ndarray) -> np.ndarray:
        """Its values."""
        return np.maximum(self.weight * points + self.bias, 0.0)


def whole_inputs(
    program: MixedIntegerProgram,
    matrix: sp.csr_matrix,
    limit: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> WholeInputs:
    """Find the inputs that a row makes whole.

    Args:
        program: the program.
        matrix: its rows as matrix x <= limit, (rows, columns).
        limit: (rows,).
        low: bounds of the columns, (columns,).
        high: likewise.
    """
    inputs = set(program.columns.inputs.tolist())
    units: dict[int, _Unit] = {}
    for reading in program.preactivations:
        single = np.flatnonzero(np.diff(reading.weights.indptr) == 1)
        for k in single:
            place = reading.weights.indptr[k]
            x = int(reading.weights.indices[place])
            if low[x] < high[x] and x in inputs:
                units[int(reading.output[k])] = _Unit(
                    x, float(reading.weights.data[place]), float(reading.bias[k]), int(reading.phase[k])
                )
    found: dict[int, tuple[int, int, float, float]] = {}
    rows: list[int] = []
    columns: set[int] = set()
    for row in np.unique(matrix.tocsc()[:, sorted(units)].indices) if units else ():
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        own = matrix.indices[span]
        fresh = [
            entry for entry in _of_row(units, own, matrix.data[span], limit[row], low, high) if entry[0] not in found
        ]
        if fresh:
            found |= {entry[0]: entry for entry in fresh}
            rows.append(int(row))
            columns |= {column for column in own.tolist() if column in units}
            columns |= {units[column].phase for column in own.tolist() if column in units}
    return WholeInputs(tuple(found.values()), np.array(rows, dtype=np.int64), np.array(sorted(columns), dtype=np.int64))


def _of_row(
    units: dict[int, _Unit], columns: np.ndarray, values: np.ndarray, limit: float, low: np.ndarray, high: np.ndarray
) -> list[tuple[int, int, float, float]]:
    """What one row says."""
    groups: dict[int, list[tuple[_Unit, float]]] = defaultdict(list)
    for column, value in zip(columns.tolist(), values.tolist(), strict=True):
        if column in units:
            groups[units[column].x].append((units[column], value))
    rest, slopes = 0.0, dict.fromkeys(groups, 0.0)
    for column, value in zip(columns.tolist(), values.tolist(), strict=True):
        if column in groups:
            slopes[column] = value
        elif column not in units:
            rest += value * (low[column] if value > 0 else high[column])
    least, candidates = rest, []
    for x, group in groups.items():
        kinks = [unit.kink for unit, _ in group if low[x] < unit.kink < high[x]]
        points = np.array([low[x], high[x], *kinks])
        value = slopes[x] * points + sum(factor * unit.at(points) for unit, factor in group)
        least += float(value.min())
        ends = np.abs(value[:2] - value.min()).max() <= _TOLERANCE
        if ends and len(kinks) and (value[2:] > value.min() + _TOLERANCE).all():
            inner = next(unit for unit, _ in group if low[x] < unit.kink < high[x])
            rising = inner.weight > 0
            candidates.append(
                (x, inner.phase, low[x] if rising else high[x], (high[x] - low[x]) * (1 if rising else -1))
            )
    return candidates if limit - least <= _TOLERANCE else []
