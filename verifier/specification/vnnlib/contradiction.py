"""Whether rows contradict each other, in exact rational arithmetic.

Rows of one direction are compared as an interval. For the rest a linear program names candidates, but what it says counts
only as Farkas multipliers that rational arithmetic confirms: weights >= 0 under which the left-hand sides cancel and the
offsets sum up to less than 0, or to 0 with weight on a strict row (Farkas' lemma and Motzkin's transposition theorem).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .formula import Inequality, Variable

MAX_PROGRAMS = 300  # linear programs while one property is read; what they would have dropped is only work for engines
_MAX_SUPPORT = 80  # rows of a contradiction that are solved for exactly
_TOLERANCE = 1e-7
Direction = tuple[tuple[Variable, Fraction], ...]


class Contradictions:
    """Finds contradictions among rows, each set of rows at most once."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: dict[tuple[object, ...], list[Inequality]] = {}
        self._programs = 0

    def among(self, rows: Sequence[Inequality], box: Sequence[Inequality] = ()) -> list[Inequality]:
        """Rows that no point satisfies together (a part of those given), or none; `box` are bounds on their inputs."""
        key = (*(row.key for row in rows), None, *(row.key for row in box))
        if key not in self._known:
            self._known[key] = self._find([*rows, *box])
        return self._known[key]

    def _find(self, rows: list[Inequality]) -> list[Inequality]:
        for row in rows:
            if not row.expression.terms and not _holds(row):
                return [row]
        rows = [row for row in rows if row.expression.terms]
        pair = _opposite(rows)
        if pair or len(rows) < 3 or _has_descent(rows) or self._programs >= MAX_PROGRAMS:
            return pair
        self._programs += 1
        return _by_program(rows)


def _holds(row: Inequality) -> bool:
    """Whether a row without variables is true."""
    constant = row.expression.constant
    return constant < 0 or (constant == 0 and not row.strict)


def _opposite(rows: Sequence[Inequality]) -> list[Inequality]:
    """Two rows of one direction whose sides leave nothing between them, if there are such."""
    lows: dict[Direction, tuple[Fraction, bool, Inequality]] = {}
    highs: dict[Direction, tuple[Fraction, bool, Inequality]] = {}
    for row in rows:
        terms = sorted(row.expression.terms.items())
        first = terms[0][1]
        direction = tuple((variable, value / first) for variable, value in terms)
        value = -row.expression.constant / first
        if first > 0:
            best = highs.get(direction)
            if best is None or (value, not row.strict) < (best[0], not best[1]):
                highs[direction] = (value, row.strict, row)
        else:
            best = lows.get(direction)
            if best is None or (-value, not row.strict) < (-best[0], not best[1]):
                lows[direction] = (value, row.strict, row)
    for direction, (low, low_strict, below) in lows.items():
        if direction in highs:
            high, high_strict, above = highs[direction]
            if low > high or (low == high and (low_strict or high_strict)):
                return [below, above]
    return []


def _dense(rows: Sequence[Inequality]) -> tuple[np.ndarray, np.ndarray]:
    """Rows C v <= d in float64, each of length 1."""
    variables = {v: k for k, v in enumerate(sorted({v for row in rows for v in row.expression.terms}))}
    matrix, offset = np.zeros((len(rows), len(variables))), np.zeros(len(rows))
    for r, row in enumerate(rows):
        largest = max(abs(value) for value in row.expression.terms.values())
        for variable, value in row.expression.terms.items():
            matrix[r, variables[variable]] = float(value / largest)
        length = float(np.linalg.norm(matrix[r]))
        matrix[r] /= length
        offset[r] = float(np.clip(_to_float(-row.expression.constant / largest) / length, -1e30, 1e30))
    return matrix, offset


def _to_float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return 1e300 if value > 0 else -1e300


def _has_descent(rows: Sequence[Inequality]) -> bool:
    """Whether the sum of all rows is a direction along which every row falls without end: then they have a point."""
    matrix, _ = _dense(rows)
    return bool((matrix @ matrix.sum(0) > 1e-6).all())


def _by_program(rows: Sequence[Inequality]) -> list[Inequality]:
    """Contradictory rows with confirmed multipliers, or none: first any, then those that hang on strictness."""
    matrix, offset = _dense(rows)
    strict = np.array([row.strict for row in rows])
    for lifted in (np.ones(len(rows), dtype=bool), strict):
        if not lifted.any():
            break
        room, weights = _program(matrix, offset, lifted)
        if room > _TOLERANCE:
            break
        support = [row for row, weight in zip(rows, weights, strict=True) if weight > _TOLERANCE]
        if _confirmed(support):
            return support
        if room < -_TOLERANCE:
            break
    return []


def _program(matrix: np.ndarray, offset: np.ndarray, lifted: np.ndarray) -> tuple[float, np.ndarray]:
    """max s <= 1 with C v + s <= d in the lifted rows and C v <= d in the others, and the weights of its rows."""
    from scipy.optimize import linprog

    n = matrix.shape[1]
    left = np.concatenate([matrix, lifted[:, None].astype(float)], axis=1)
    result = linprog(
        np.concatenate([np.zeros(n), [-1.0]]),
        left,
        offset,
        bounds=[(None, None)] * n + [(None, 1.0)],
        method="highs-ds",
    )
    if result.status != 0:  # no answer is no candidate
        return np.inf, np.zeros(len(matrix))
    return float(-result.fun), -np.asarray(result.ineqlin.marginals)


def _confirmed(support: Sequence[Inequality]) -> bool:
    """Whether multipliers of all these rows, unique up to a factor, prove that they exclude each other."""
    if not 0 < len(support) <= _MAX_SUPPORT:
        return False
    weights = _null_vector(support)
    if weights is None:
        return False
    if any(weight < 0 for weight in weights):
        weights = [-weight for weight in weights]
    if any(weight < 0 for weight in weights):
        return False
    total = sum((w * row.expression.constant for w, row in zip(weights, support, strict=True)), Fraction())
    return total > 0 or (total == 0 and any(w > 0 and row.strict for w, row in zip(weights, support, strict=True)))


def _null_vector(support: Sequence[Inequality]) -> list[Fraction] | None:
    """The weights, unique up to a factor, under which the rows' left-hand sides sum up to 0; None where there are none."""
    variables = sorted({v for row in support for v in row.expression.terms})
    table = [[row.expression.terms.get(v, Fraction()) for row in support] for v in variables]
    count, pivots, top = len(support), [], 0
    for column in range(count):
        pivot = next((r for r in range(top, len(table)) if table[r][column]), None)
        if pivot is None:
            continue
        table[top], table[pivot] = table[pivot], table[top]
        factor = table[top][column]
        table[top] = [value / factor for value in table[top]]
        for r, line in enumerate(table):
            if r != top and line[column]:
                table[r] = [a - line[column] * b for a, b in zip(line, table[top], strict=True)]
        pivots.append(column)
        top += 1
    free = [column for column in range(count) if column not in pivots]
    if len(free) != 1:
        return None
    weights = [Fraction()] * count
    weights[free[0]] = Fraction(1)
    for line, column in zip(table, pivots, strict=False):
        weights[column] = -line[free[0]]
    return weights
