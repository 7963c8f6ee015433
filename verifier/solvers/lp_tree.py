"""A branch and bound over LPs whose every leaf counts for what its multipliers prove, and for no more.

A MIP solver's dual bound rests on presolve, cuts, heuristics, tolerances and parallel bookkeeping, and wrong ones have been
published. Here a node fixes or bounds integer columns, its LP starts from the basis of the last one, and its bound is
computed by `safe_dual` in outward-rounded arithmetic; an infeasible node needs a Farkas ray that passes the same
arithmetic. The tree's bound is the least bound of its leaves, those included that nobody has looked at yet, so it holds
whenever the tree is stopped. It is slower than a MIP solver: its use is to confirm what one claims.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..encoding import MixedIntegerProgram
from .clarabel import ClarabelPrograms
from .dual_leaf import DualLeaf
from .highs import HighsLps, LpAnswer
from .safe_dual import SafeDual

Inspect = Callable[[np.ndarray, float], bool]

_WHOLE = 1e-6  # columns this near to a whole number are tried there
_TRIALS = 8  # columns at most whose two sides are tried before a node is split on one of them
_AMPLE = 2.0  # times what a ray has to add
_SHORT = 1e-6  # by which multipliers may prove less than a relaxation's own value, relatively
_SAME, _NOTHING = (
    1e-7,
    1e-12,
)  # a solution that loses no more than this by rounding its columns is one: relative, absolute


@dataclass(frozen=True)
class TreeResult:
    """`bound` is proved: no point of the program is lower; inf where there is none.

    `point` is the best found, with its `objective`, feasible to the LP solver's tolerance. `finished` where no node is left.
    `nodes` are those of the tree, `iterations` those of its LPs. `leaves` are those of a finished tree, where they were
    to be kept and each has multipliers that prove the target.
    """

    bound: float
    point: np.ndarray | None
    objective: float
    nodes: int
    iterations: int
    finished: bool
    leaves: tuple[DualLeaf, ...] | None = None


@dataclass(frozen=True)
class _Node:
    """Bounds of the integer columns, and multipliers that prove the node's bound; None where nothing is proved."""

    bound: float
    low: np.ndarray
    high: np.ndarray
    multipliers: np.ndarray | None = None


class LpTree:
    """Trees over one program; objectives may differ."""

    def __init__(self, program: MixedIntegerProgram) -> None:
        """Any program with integer columns that have bounds; one that is not linear takes interior points instead of LPs."""
        self._program = program
        self._whole = np.flatnonzero(program.integer)
        self._safe = SafeDual(program)
        linear = program.hessian is None and program.ball is None
        self._lps = HighsLps(program, presolve=False) if linear else ClarabelPrograms(program)

    def minimum(
        self,
        seconds: float,
        target: float = math.inf,
        cost: np.ndarray | None = None,
        relative_gap: float = 0.0,
        visit: Callable[[np.ndarray], bool] | None = None,
        raised: Callable[[float], None] | None = None,
        inspect: Inspect | None = None,
        keep: bool = False,
    ) -> TreeResult:
        """Prove that the optimum is at least `target`, or as much as there is to prove, in the time there is.

        Args:
            seconds: at most.
            target: nodes that reach it are closed.
            cost: another objective of a linear program, then without the program's offset.
            relative_gap: nodes within it of the best point are closed.
            visit: called with better points as they are found; the tree ends where it returns True.
            raised: called with the tree's bound whenever it has risen.
            inspect: called with the point of every relaxation, and the tree's bound; the tree ends where it returns True.
            keep: whether the result has the leaves, of a program whose integer columns are binaries.
        """
        offset = self._program.offset if cost is None else 0.0
        search = _Search(self, cost, offset, target - offset, relative_gap, visit, raised, inspect, keep)
        before = self._lps.iterations
        search.run(time.perf_counter() + seconds)
        return TreeResult(
            search.bound + offset,
            search.point,
            search.objective + offset,
            search.nodes,
            self._lps.iterations - before,
            not search.heap,
            search.leaves,
        )


class _Search:
    """The state of one tree."""

    def __init__(
        self,
        tree: LpTree,
        cost: np.ndarray | None,
        offset: float,
        target: float,
        relative_gap: float,
        visit: Callable[[np.ndarray], bool] | None,
        raised: Callable[[float], None] | None,
        inspect: Inspect | None,
        keep: bool,
    ) -> None:
        self.program, self.whole, self.safe, self.lps = tree._program, tree._whole, tree._safe, tree._lps
        self.cost = self.program.cost if cost is None else cost
        self.hessian = self.program.hessian if cost is None else None
        self.offset, self.target, self.gap, self.visit, self.raised = offset, target, relative_gap, visit, raised
        self.inspect, self.taken = inspect, math.inf
        self.told = -math.inf
        self.lps.set_cost(self.cost)
        self.closed = math.inf  # least bound of closed leaves
        self.kept: list[DualLeaf] | None = [] if keep else None
        self.objective = math.inf
        self.point: np.ndarray | None = None
        self.nodes, self.stopped = 0, False
        self.ticket = itertools.count()
        self.heap: list[tuple[float, int, _Node]] = []
        count = len(self.whole)
        self.gain, self.tried = np.zeros((2, count)), np.zeros((2, count))  # by direction: down, up
        self._push(_Node(-math.inf, self.program.col_lower[self.whole], self.program.col_upper[self.whole]))

    @property
    def ceiling(self) -> float:
        """Nodes that reach it are closed."""
        if math.isinf(self.objective):
            return self.target
        return min(self.target, self.objective - self.gap * abs(self.objective + self.offset) - 1e-12)

    @property
    def bound(self) -> float:
        """Proved so far."""
        return min([self.closed, *(entry[0] for entry in self.heap[:1])])

    def run(self, deadline: float) -> None:
        """Best first, diving from each node that is taken up."""
        node: _Node | None = None
        while (node is not None or self.heap) and not self.stopped:
            if node is None:
                node = heapq.heappop(self.heap)[2]
            if node.bound >= self.ceiling:
                self._close(node)
                node = None
                continue
            if time.perf_counter() >= deadline:
                self._push(node)
                return
            self.taken = node.bound
            node = self._step(node, deadline)
            self._tell(math.inf if node is None else node.bound)
        if node is not None:  # stopped: what was taken up is still open
            self._push(node)

    def _tell(self, taken: float) -> None:
        """Report the bound where it has risen; the node that is taken up counts as open."""
        bound = min(self.bound, taken)
        if self.raised is not None and self.told < bound < math.inf:
            self.told = bound
            self.raised(bound + self.offset)

    def _value(self, point: np.ndarray) -> float:
        """The objective, without its constant."""
        quadratic = 0.0 if self.hessian is None else 0.5 * float((self.hessian * point * point).sum())
        return float(self.cost @ point) + quadratic

    def _push(self, node: _Node) -> None:
        heapq.heappush(self.heap, (node.bound, next(self.ticket), node))

    def _close(self, node: _Node) -> None:
        self.closed = min(self.closed, node.bound)
        if self.kept is not None:
            leaf = self._leaf(node) if node.bound >= self.target else None
            if leaf is None:  # then nobody wants the others
                self.kept, self.stopped = None, True
            else:
                self.kept.append(leaf)

    def _leaf(self, node: _Node) -> DualLeaf | None:
        """None where no finite multipliers prove the target."""
        if node.multipliers is None:
            return None
        fixed = node.low == node.high
        path = zip(self.whole[fixed].tolist(), np.round(node.low[fixed]).astype(int).tolist(), strict=True)
        return DualLeaf(tuple(path), node.multipliers)

    @property
    def leaves(self) -> tuple[DualLeaf, ...] | None:
        """Those of a finished tree whose every leaf proves the target."""
        return None if self.kept is None or self.heap or self.stopped else tuple(self.kept)

    def _solve(self, node: _Node, deadline: float) -> tuple[_Node, LpAnswer]:
        """The node with what is proved of it, at least what was of its parent, and the solver's answer."""
        self.nodes += 1
        self.lps.set_bounds(self.whole, node.low, node.high)
        low, high = self.program.col_lower.copy(), self.program.col_upper.copy()
        low[self.whole], high[self.whole] = node.low, node.high
        bound, multipliers = node.bound, node.multipliers
        for cutoff in (self.ceiling, math.inf):  # at a cut-off HiGHS may name multipliers that prove less than it says
            answer = self.lps.solve(max(deadline - time.perf_counter(), 1e-3), cutoff)
            if answer.row_dual is not None:
                found = self.safe.bound(answer.row_dual, self.cost, low, high, self.hessian, answer.ball_dual)
                if found > bound:
                    bound, multipliers = found, answer.row_dual
            short = answer.point is None and answer.row_dual is not None and bound < self.ceiling
            if not short or answer.out_of_time or math.isinf(cutoff):
                break
        if answer.point is not None and self.inspect is not None:
            self.stopped |= self.inspect(answer.point, min(self.bound, self.taken) + self.offset)
        if answer.ray is not None:
            nothing = np.zeros(len(self.cost))
            for sign in (1.0, -1.0):
                curve = None if answer.ball_dual is None else sign * answer.ball_dual
                value = self.safe.bound(sign * answer.ray, nothing, low, high, None, curve)
                if value > 0:
                    multipliers = self._finite(bound, multipliers, sign * answer.ray, value, (low, high))
                    bound = math.inf
                    break
        return _Node(bound, node.low, node.high, multipliers), answer

    def _finite(
        self, bound: float, start: np.ndarray | None, ray: np.ndarray, value: float, box: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray | None:
        """Multipliers that prove the target where a ray of this value excludes everything; None where none are wanted."""
        if self.kept is None or start is None or not math.isfinite(bound):
            return None
        enough = start + ray * (_AMPLE * (1.0 + abs(bound) + abs(self.target)) / value)
        return enough if self.safe.bound(enough, self.cost, *box) >= self.target else None

    def _step(self, node: _Node, deadline: float) -> _Node | None:
        """Bound a node; returns the child to go on with."""
        node, answer = self._solve(node, deadline)
        if node.bound >= self.ceiling:
            self._close(node)
            return None
        if answer.out_of_time:
            self._push(node)
            return None
        free = node.low < node.high
        if answer.point is None:  # nothing proved: any split may help
            if not free.any():
                self._close(node)
                return None
            return self._split(node, int(np.flatnonzero(free)[0]), None)
        values = answer.point[self.whole]
        fraction = np.where(free, np.abs(values - np.round(values)), 0.0)
        if fraction.max(initial=0.0) <= _WHOLE:
            attained = self._attained(node, answer.point, deadline)
            # multipliers may prove less than the relaxation's value; those of smaller nodes are better
            short = self._value(answer.point) - node.bound > _SHORT * abs(node.bound) + _NOTHING
            if (attained and not short) or not free.any():
                self._close(node)
                return None
            return self._split(node, int(np.argmax(np.where(free, fraction, -1.0))), values)
        return self._branch(node, values, fraction, self._value(answer.point), deadline)

    def _attained(self, node: _Node, relaxed: np.ndarray, deadline: float) -> bool:
        """Whether a point that is nearly whole is so at no loss; it is kept if it is the best."""
        rounded = np.clip(np.round(relaxed[self.whole]), node.low, node.high)
        self.lps.set_bounds(self.whole, rounded, rounded)
        answer = self.lps.solve(max(deadline - time.perf_counter(), 1e-3))
        if answer.point is None:
            return False
        value = self._value(answer.point)
        if value < self.objective:
            self.objective, self.point = value, answer.point
            self.stopped |= self.visit is not None and self.visit(answer.point)
        return value <= self._value(relaxed) + _SAME * abs(value) + _NOTHING

    def _branch(
        self, node: _Node, values: np.ndarray, fraction: np.ndarray, value: float, deadline: float
    ) -> _Node | None:
        """Split by pseudo-costs; columns that have none yet are tried, which may settle a side of them at once."""
        down, up = values - np.floor(values), np.ceil(values) - values
        mean = np.array([g.sum() / max(t.sum(), 1.0) for g, t in zip(self.gain, self.tried, strict=True)])
        rate = np.where(self.tried > 0, self.gain / np.maximum(self.tried, 1.0), np.maximum(mean, 1e-9)[:, None])
        score = np.where(fraction > _WHOLE, np.maximum(rate[0] * down, 1e-12) * np.maximum(rate[1] * up, 1e-12), -1.0)
        order = np.argsort(-score, kind="stable")
        fresh = [int(k) for k in order[: 4 * _TRIALS] if score[k] >= 0 and self.tried[:, k].min() == 0][:_TRIALS]
        for k in fresh:
            if time.perf_counter() >= deadline:
                break
            gains = []
            for side, child in enumerate(_children(node, k, values[k])):
                tried, answer = self._solve(child, deadline)
                if answer.out_of_time:
                    break
                if tried.bound >= self.ceiling:
                    self._close(tried)
                    return _children(node, k, values[k])[1 - side]  # all that is left of the node
                gain = max(tried.bound - value, 0.0)
                self.gain[side, k] += gain / max((down, up)[side][k], 1e-6)
                self.tried[side, k] += 1
                gains.append(gain)
            if len(gains) == 2:
                score[k] = max(gains[0], 1e-12) * max(gains[1], 1e-12)
        return self._split(node, int(np.argmax(score)), values)

    def _split(self, node: _Node, k: int, values: np.ndarray | None) -> _Node:
        middle = 0.5 * (node.low[k] + node.high[k]) if values is None else float(values[k])
        near, far = _children(node, k, middle)
        if middle - math.floor(middle) > 0.5:
            near, far = far, near
        self._push(far)
        return near


def _children(node: _Node, k: int, value: float) -> tuple[_Node, _Node]:
    """The node with a column at most, and at least, the whole numbers around a value."""
    floor = min(max(math.floor(value), node.low[k]), node.high[k] - 1)
    high, low = node.high.copy(), node.low.copy()
    high[k], low[k] = floor, floor + 1
    return replace(node, high=high), replace(node, low=low)
