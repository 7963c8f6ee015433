"""Propagation of all rows of a program together, and what it says of where to branch.

A row a x <= u leaves column j at most (u - least activity of the others) / a_j; whole columns round that to whole numbers,
and one row's new bound is the next row's news ("feasibility-based bound tightening"; Savelsbergh, "Preprocessing and
probing techniques for mixed integer programming problems", ORSA Journal on Computing 1994). Besides, a binary is fixed
where all rows that object to one of its values have become redundant (ibid.), and inputs that a row leaves only their two
ends are written as functions of a binary (`whole_inputs`).

Nothing here is a proof: it steers a search whose leaves are proved by multipliers (`row_tree`), so floating point will do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from ..encoding import MixedIntegerProgram
from .whole_inputs import whole_inputs

_TOLERANCE = 1e-6
_MOVED = 1e-3  # of its width, at least, by which a column's bound has to move for another round
_MOST_ROUNDS = 50
_HALVINGS = 60.0
_ZERO = 1e-9


@dataclass(frozen=True)
class Box:
    """Bounds of all columns, and the row that each of them comes from, -1 where it was given; (columns,) each.

    `contradiction` are rows that cannot be satisfied within the bounds, or that leave some column nothing; none where the
    rows agree.
    """

    low: np.ndarray
    high: np.ndarray
    why_low: np.ndarray
    why_high: np.ndarray
    contradiction: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether the rows contradict each other."""
        return bool(self.contradiction)

    def with_value(self, column: int, value: float) -> Box:
        """The same with a column fixed."""
        low, high = self.low.copy(), self.high.copy()
        low[column] = high[column] = value
        return replace(self, low=low, high=high)


class RowPropagation:
    """The rows of a program, one-sided, over columns of which some have been written as functions of binaries.

    Attributes:
        root: what propagation says of the columns before anything is decided.
        whole_inputs: number of inputs that the rows were found to make whole.
        fixed: number of binaries that propagation fixes at the root.
    """

    def __init__(self, program: MixedIntegerProgram) -> None:
        """Propagate at the root of a linear program, with inputs that the rows make whole."""
        self._program, self._integer = program, program.integer
        above, below = np.isfinite(program.row_upper), np.isfinite(program.row_lower)
        self._take(
            sp.csr_matrix(sp.vstack([program.matrix[above], -program.matrix[below]])),
            np.concatenate([program.row_upper[above], -program.row_lower[below]]),
        )
        self._origin = np.concatenate([np.flatnonzero(above), np.flatnonzero(below)])
        self._behind = np.zeros(0, dtype=np.int64)  # rows of the program that the substitution rests on
        self.whole_inputs = 0
        given = np.full(len(program.cost), -1)
        root = self.propagate(Box(program.col_lower, program.col_upper, given, given))
        if not root.empty:
            root = self.propagate(self._without_objection(root))
        if not root.empty:
            self._substitute(root)
            root = self.propagate(root)
        self.root = root
        self.fixed = int((self._integer & (root.low == root.high)).sum())

    def rows(self, box: Box) -> np.ndarray:
        """Rows of the program that a contradiction comes from: those that gave the bounds it rests on, and so on."""
        seen = set(box.contradiction)
        left = list(seen)
        while left:
            row = left.pop()
            span = slice(self._matrix.indptr[row], self._matrix.indptr[row + 1])
            columns, rising = self._column[span], self._rising[span]
            causes = np.where(rising, box.why_low[columns], box.why_high[columns])
            fresh = set(causes[causes >= 0].tolist()) - seen
            seen |= fresh
            left += fresh
        return np.union1d(self._origin[sorted(seen)], self._behind)

    def _take(self, matrix: sp.csr_matrix, limit: np.ndarray) -> None:
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        self._matrix, self._limit = matrix, limit
        self._row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        self._column, self._value = matrix.indices, matrix.data
        self._rising = self._value > 0

    def propagate(self, box: Box) -> Box:
        """What the rows leave of a box."""
        low, high, why_low, why_high = box.low.copy(), box.high.copy(), box.why_low.copy(), box.why_high.copy()
        row, column, value, rising = self._row, self._column, self._value, self._rising
        falling, whole = ~rising, self._integer
        for _ in range(_MOST_ROUNDS):
            least, slack = self._activity(low, high)
            if slack.min(initial=0.0) < -_TOLERANCE:
                return Box(low, high, why_low, why_high, (int(slack.argmin()),))
            ends = (slack[row] + least) / value
            above, below = high.copy(), low.copy()
            np.minimum.at(above, column[rising], ends[rising])
            np.maximum.at(below, column[falling], ends[falling])
            better = rising & (ends <= above[column]) & (high - above > _ZERO)[column]
            why_high[column[better]] = row[better]
            better = falling & (ends >= below[column]) & (below - low > _ZERO)[column]
            why_low[column[better]] = row[better]
            above[whole] = np.floor(above[whole] + _TOLERANCE)
            below[whole] = np.ceil(below[whole] - _TOLERANCE)
            crossed = np.flatnonzero(below > above + _TOLERANCE)
            if len(crossed):
                rows = {int(why[crossed[0]]) for why in (why_low, why_high)} - {-1}
                return Box(low, high, why_low, why_high, tuple(sorted(rows)))
            below = np.minimum(below, above)
            moved = np.maximum(high - above, below - low) > _MOVED * (high - low) + _ZERO
            low, high = below, above
            if not moved.any():
                break
        return Box(low, high, why_low, why_high)

    def _activity(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least contribution of every entry, and what the limit of its row leaves above the least sum."""
        ends = np.where(self._rising, low[self._column], high[self._column]) * self._value
        return ends, self._limit - np.bincount(self._row, ends, minlength=len(self._limit))

    def scores(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which binaries are free, and how much a value of 0, and of 1, hurts the rows, (columns,) each.

        A row weighs 2 to the minus how many such steps it is away from propagating: on clauses that is the rule of Jeroslow
        and Wang ("Solving propositional satisfiability problems", 1990). Rows that the binaries cannot violate any more
        weigh nothing.
        """
        low, high = box.low, box.high
        _, slack = self._activity(low, high)
        slack = np.maximum(slack, 0.0)
        free = self._integer & (low < high)
        step = np.abs(self._value) * (high - low)[self._column]
        counted = free[self._column]
        possible = np.bincount(self._row, np.where(counted, step, 0.0), minlength=len(slack))
        counted = counted & (possible > slack + _TOLERANCE)[self._row]
        away = np.minimum(slack[self._row] / np.maximum(step, _ZERO), _HALVINGS)
        weight = np.where(counted, 2.0**-away, 0.0)

        def summed(chosen: np.ndarray) -> np.ndarray:
            return np.bincount(self._column[chosen], weight[chosen], minlength=len(low))

        return free, summed(~self._rising), summed(self._rising)

    def _without_objection(self, box: Box) -> Box:
        """Binaries fixed at a value that no row can object to, whatever the other columns are."""
        ends = np.where(self._rising, box.high[self._column], box.low[self._column]) * self._value
        most = np.bincount(self._row, ends, minlength=len(self._limit))
        violable = (most > self._limit + _ZERO)[self._row]
        low, high = box.low.copy(), box.high.copy()
        objects = np.zeros((2, len(low)), dtype=bool)  # to 0, to 1
        objects[0, self._column[violable & ~self._rising]] = True
        objects[1, self._column[violable & self._rising]] = True
        open_ = self._integer & (low < high)
        zero = open_ & ~objects[0]
        high[zero] = low[zero]
        one = open_ & objects[0] & ~objects[1]
        low[one] = high[one]
        return replace(box, low=low, high=high)

    def _substitute(self, box: Box) -> None:
        """Write inputs that the rows make whole as functions of a binary each."""
        program, count = self._program, len(self._program.cost)
        shift, columns, factor = np.zeros(count), np.arange(count), np.ones(count)
        found = whole_inputs(program, self._matrix, self._limit, box.low, box.high)
        for x, phase, start, step in found.inputs:
            shift[x], columns[x], factor[x] = start, phase, step
        self.whole_inputs = len(found.inputs)
        if found.inputs:
            onto = sp.csr_matrix((factor, (np.arange(count), columns)), shape=(count, count))
            self._take(sp.csr_matrix(self._matrix @ onto), self._limit - self._matrix @ shift)
            self._behind = np.union1d(self._origin[found.rows], rows_of(program, found.columns))


def rows_of(program: MixedIntegerProgram, columns: np.ndarray) -> np.ndarray:
    """Rows that some of the columns are in."""
    return np.unique(program.matrix.tocsc()[:, columns].indices)
