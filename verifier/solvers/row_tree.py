"""A branch and bound for programs that claim to have no feasible point: rows say where to branch, multipliers prove.

A MIP solver that answers "infeasible" leaves nothing that could be checked. Here binaries are decided depth first, by what
the rows' propagation says (`row_propagation`); where that comes upon a contradiction, the LP over nothing but the decisions
on the way has to be infeasible too, and only a Farkas ray that holds in outward-rounded arithmetic (`safe_dual`) closes the
leaf. Otherwise the tree goes on below it. So propagation may err without harm, and the leaves are a proof (`proof.program_goals`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ..encoding import MixedIntegerProgram
from .dual_leaf import DualLeaf, Path
from .highs import HighsLps, LpAnswer
from .row_propagation import Box, RowPropagation
from .safe_dual import SafeDual

_TRIALS = 8  # nodes without a contradiction whose LPs are solved before their worth is judged
_WORTHWHILE = 1 / 8  # of them, at least, that have to be infeasible for the next ones to be solved
_FEW_ROWS = 0.5  # of all rows, at most, for them to be tried alone


@dataclass(frozen=True)
class RowTreeResult:
    """`infeasible` is proved by the leaves; without it nothing is. `finished` where nothing is left to look at."""

    infeasible: bool
    finished: bool
    nodes: int
    leaves: tuple[DualLeaf, ...]


@dataclass
class _Worth:
    """How often an LP was infeasible where propagation saw no contradiction."""

    most_trials: int
    solved: int = 0
    closed: int = 0

    def count(self, settled: bool, closed: bool) -> None:
        """One more LP, unless it had to be solved anyway."""
        self.solved += not settled
        self.closed += closed and not settled

    @property
    def pays(self) -> bool:
        """Whether to solve the next one."""
        return self.solved < self.most_trials or self.closed > _WORTHWHILE * self.solved


@dataclass(frozen=True)
class _Node:
    """Decisions, and what was known of the columns when the last one was taken."""

    path: Path
    box: Box


class RowTree:
    """The tree over one linear program's binaries."""

    def __init__(self, program: MixedIntegerProgram) -> None:
        """Propagate at the root of a linear program without an objective that matters, whose integer columns are binaries."""
        self._program = program
        self.rows = RowPropagation(program)
        # where inputs are whole, rows see every contradiction that is worth an LP: no trials
        self._worth = _Worth(most_trials=0 if self.rows.whole_inputs else _TRIALS)

    @property
    def promises(self) -> bool:
        """Whether the rows say something together: they leave nothing, or fix every second binary, or make inputs whole."""
        rows = self.rows
        return rows.root.empty or rows.whole_inputs > 0 or 2 * rows.fixed >= max(self._program.binaries, 1)

    def search(
        self,
        seconds: float,
        visit: Callable[[np.ndarray], bool] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> RowTreeResult:
        """Decide binaries until every leaf is proved, a leaf cannot be, `visit` is content, or time is out.

        Args:
            seconds: at most.
            visit: gets points of the LPs, (columns,), whose inputs may be what is sought; True ends the search.
            stop: asked at every node; True ends the search.
        """
        deadline = time.perf_counter() + seconds
        leaves: list[DualLeaf] = []
        open_ = [_Node((), self.rows.root)]
        nodes = 0

        def result(infeasible: bool, finished: bool) -> RowTreeResult:
            return RowTreeResult(infeasible, finished, nodes, tuple(leaves))

        while open_:
            if time.perf_counter() >= deadline or stop():
                return result(False, False)
            node = open_.pop()
            nodes += 1
            box = self.rows.propagate(node.box)
            free, zero, one = self.rows.scores(box)
            free &= ~self._decided(node.path)
            settled, point = box.empty or not free.any(), None
            if settled or self._worth.pays:
                ray, answer = self._prove(node.path, box, deadline)
                self._worth.count(settled, ray is not None)
                if ray is not None:
                    leaves.append(DualLeaf(node.path, ray))
                    continue
                if answer.out_of_time:
                    return result(False, False)
                point = answer.point
            if point is not None and visit is not None and visit(point):
                return result(False, True)
            if not free.any():  # the LP knows only of decisions, not yet of what they imply
                free = self._program.integer & ~self._decided(node.path)
                if not free.any():
                    return result(False, False)
            open_ += self._children(node.path, box, free, zero + one, zero >= one, point)
        return result(True, True)

    def _decided(self, path: Path) -> np.ndarray:
        decided = np.zeros(len(self._program.cost), dtype=bool)
        decided[[column for column, _ in path]] = True
        return decided

    def _children(
        self, path: Path, box: Box, free: np.ndarray, score: np.ndarray, up: np.ndarray, point: np.ndarray | None
    ) -> list[_Node]:
        """Both values of the free binary of highest score, the one that hurts less on top; of equals the most fractional."""
        if point is not None:
            score = score + 1e-6 * np.minimum(point, 1 - point)
        column = int(np.argmax(np.where(free, score, -np.inf)))
        better = int(up[column])
        return [_Node((*path, (column, value)), box.with_value(column, value)) for value in (1 - better, better)]

    def _prove(self, path: Path, box: Box, deadline: float) -> tuple[np.ndarray | None, LpAnswer]:
        """Multipliers that exclude every point with these decisions, if an LP comes to some that hold.

        The rows that a contradiction rests on are tried alone first: they are few.
        """
        program = self._program
        low, high = program.col_lower.copy(), program.col_upper.copy()
        for column, value in path:
            low[column] = high[column] = value
        if box.empty:
            rows = self.rows.rows(box)
            if len(rows) <= _FEW_ROWS * len(program.row_lower):
                part, columns = _part(program, rows)
                lps, safe = HighsLps(part, presolve=False), SafeDual(part)
                ray, answer = _excluded(lps, safe, low[columns], high[columns], deadline)
                if ray is not None:
                    whole = np.zeros(len(program.row_lower))
                    whole[rows] = ray
                    return whole, answer
        return _excluded(*self._all, low, high, deadline)

    @cached_property
    def _all(self) -> tuple[HighsLps, SafeDual]:
        program = replace(self._program, cost=np.zeros(len(self._program.cost)))
        return HighsLps(program, presolve=False), SafeDual(program)


def _part(program: MixedIntegerProgram, rows: np.ndarray) -> tuple[MixedIntegerProgram, np.ndarray]:
    """Some rows of a program over the columns that are in them, and these columns; without an objective."""
    part = program.with_only(rows)
    columns = np.unique(part.matrix.indices)
    return replace(
        part,
        matrix=sp.csr_matrix(part.matrix[:, columns]),
        col_lower=part.col_lower[columns],
        col_upper=part.col_upper[columns],
        cost=np.zeros(len(columns)),
        integer=part.integer[columns],
        loss=None if part.loss is None else sp.csr_matrix(part.loss[:, columns]),
    ), columns


def _excluded(
    lps: HighsLps, safe: SafeDual, low: np.ndarray, high: np.ndarray, deadline: float
) -> tuple[np.ndarray | None, LpAnswer]:
    """Multipliers that exclude every point of a box, if an LP comes to some that hold, and its answer."""
    lps.set_bounds(np.arange(len(low)), low, high)
    answer = lps.solve(max(deadline - time.perf_counter(), 1e-3))
    if answer.ray is not None:
        for ray in (answer.ray, -answer.ray):
            if safe.bound(ray, np.zeros(len(low)), low, high) > 0:
                return ray, answer
    return None, answer
