"""Engine `lp-split`: our own branch and bound over a target's program, by LPs that are proved one by one.

It is for regions where few ReLUs are unstable: once the stable ones are substituted a node is an LP of a few hundred rows that starts from
the last one's basis, exact where bound propagation has to ascend, and its multipliers are the proof (`solvers.lp_tree`).

What is searched is always the most unsafe point of a region. For distances that region is the ball of the best witness: a tree
without an unsafe point proves the distance, an unsafe point makes the ball smaller and the tree is begun anew. Points come from
relaxations: their inputs are inputs of the network, whose cells `Cells.descend` walks down.
"""

from __future__ import annotations

import math

import numpy as np

from ...parallel.fork import helpers_for
from ...query import Objective
from ...specification import Region
from ..cells import CellPoint, Cells
from ..course import Course
from ..polish import polish
from ..region_bounds import MANY_UNSTABLE
from ..state import ABOVE_ZERO, SearchState, Subproblem
from .solves import run_tree
from .target import BELOW_TIES, Target, trusted

_TRIAL, _TRIAL_SHARE = 2.0, 0.1  # seconds, or share of the time left, until a tree that does not rise is given up
_TRIAL_NODES = 100  # relaxations until then, at least: a busy machine has not tried much in two seconds
_PATIENCE = 2.0  # a tree goes on where it needs at most so many times the time left
_BOLDER = 4.0  # factor of steps inwards
_HARDLY = 10.0  # gaps that a witness is better by, at least, where no step inwards is due
_DESCENTS = 0.3  # of the seconds of a tree, at most, for walks over cells
_STEPS = 30  # of a walk
_AFTER = 0.8  # of the time left that the tree over harder bounds has, at least
# Harder bounds: seconds at most, share of the time left, seconds at least.
_HARDER, _HARDER_SHARE, _LEAST_HARDER = 8.0, 0.2, 0.5


class LpSplit:
    """Complete for boxes and for balls of norms inf and 1."""

    name = "lp-split"
    fraction = 0.5

    def __init__(self) -> None:
        """No region has harder bounds yet."""
        self._hardened: set[tuple[int, float]] = set()
        self._end = 0.0

    def run(self, state: SearchState, deadline: float) -> None:
        """Subproblem by subproblem, the lowest first; each has twice its share of the time, and again as long as it moves."""
        if state.is_l0 or not trusted(state):
            return
        self._end = deadline
        for disjunct in state.excluded.disjuncts:
            open_ = [subproblem for subproblem in state.open_subproblems if subproblem.disjunct is disjunct]
            for position, subproblem in enumerate(sorted(open_, key=lambda each: each.lower)):
                if state.done or state.elapsed >= deadline:
                    return
                if not state.is_open(subproblem):
                    continue
                share, before = min(1.0, 2 / (len(open_) - position)), (math.inf, math.inf)
                while state.is_open(subproblem) and state.elapsed < deadline:
                    if before == (subproblem.lower, state.upper):
                        return  # a query is settled when all are, and others are not easier
                    before = subproblem.lower, state.upper
                    until = state.elapsed + share * (deadline - state.elapsed)
                    if state.is_min_distortion:
                        self._close_in(state, subproblem, until)
                    else:  # a tree that is about to arrive gets the time of the engines that wait, too
                        self._search(state, subproblem, until, state.elapsed + share * state.time_left)

    def _close_in(self, state: SearchState, subproblem: Subproblem, deadline: float) -> None:
        """Balls of better and better witnesses, until the last one is proved to hold none, or does not give in.

        A witness that is hardly better is followed by bolder and bolder steps inwards, or brackets would close one gap a tree.
        """
        step = 0.0
        while state.is_open(subproblem) and state.elapsed < deadline:
            before = state.upper
            with state.within(max(before * (1 - step), (subproblem.lower + before) / 2) if step else math.inf):
                self._search(state, subproblem, deadline)
                proved = not state.is_open(subproblem)
            if state.upper < before:
                assert state.witness is not None
                polish(state, state.witness, subproblem, self.name, steps=_STEPS)
                hardly = state.upper > before * (1 - _HARDLY * state.settings.gap)
                step = max(_BOLDER * step, 2 * state.settings.gap) if hardly else 0.0
            elif proved:
                step /= _BOLDER**2
            else:
                return

    def _search(self, state: SearchState, subproblem: Subproblem, deadline: float, last: float = -math.inf) -> None:
        """A tree over the search region, and a second one over harder bounds where the first does not arrive.

        Args:
            state: of the query.
            subproblem: what is searched.
            deadline: in `state.elapsed`.
            last: until when it may go on after the deadline while its course says that it will arrive by then.
        """
        if self._tree(state, subproblem, deadline, last):
            return
        region = state.search_region(subproblem.region)
        place = id(subproblem.disjunct), -1.0 if region.ball is None else region.ball.radius
        seconds = min(_HARDER, _HARDER_SHARE * (self._end - state.elapsed))  # all subproblems of the region profit
        if seconds < _LEAST_HARDER or place in self._hardened:
            return
        self._hardened.add(place)
        helpers = helpers_for(state.settings.threads)
        state.region_bounds.tighten(region, seconds, lambda: state.elapsed >= self._end, helpers)
        left = state.elapsed + max(deadline - state.elapsed, _AFTER * (self._end - state.elapsed))
        self._tree(state, subproblem, left, last)

    def _tree(self, state: SearchState, subproblem: Subproblem, deadline: float, last: float) -> bool:
        """One tree: it ends with a proof, with a better witness, or where it does not arrive; False for the last of these."""
        target = Target(state, [subproblem])
        if target.euclidean or target.bounds.unstable_count(state.network) > MANY_UNSTABLE:
            return True
        last = max(last, deadline)
        program = target.encode(Objective.MAX_MARGIN)
        margin = state.query.objective is Objective.MAX_MARGIN
        aim = state.goal if margin else ABOVE_ZERO
        inspector = _Inspector(state, subproblem, target, aim, (deadline, last), self.name)
        inputs = program.columns.inputs
        tree = run_tree(
            state,
            target,
            program,
            aim,
            last,
            self.name,
            threshold=-math.inf if margin else BELOW_TIES,
            inspect=lambda point, bound: inspector(point[inputs], bound),
            asked=not state.is_min_distortion,
        )
        if margin:
            target.prove(tree.bound, self.name)
        elif tree.bound >= aim:
            target.exclude(self.name)
        return not inspector.late


class _Inspector:
    """Looks at the inputs of relaxations: for witnesses, and for whether the tree will arrive."""

    def __init__(
        self,
        state: SearchState,
        subproblem: Subproblem,
        target: Target,
        aim: float,
        deadlines: tuple[float, float],
        name: str,
    ) -> None:
        """`deadlines` are the tree's own and, where that is later, the one for trees that are about to arrive."""
        self.state, self.subproblem, self.name = state, subproblem, name
        self.aim, (self.deadline, self.last) = aim, deadlines
        self.began, self.spent = state.elapsed, 0.0
        self.trial = self.began + max(_TRIAL, _TRIAL_SHARE * (self.deadline - self.began))
        self.region: Region = target.region
        self.cells = None
        if not state.network.has_max:
            self.cells = Cells(state.network, target.bounds, self.region, subproblem.polytope)
        self.best, self.seen, self.late = math.inf, 0, False
        self.course = Course()

    def __call__(self, x: np.ndarray, bound: float) -> bool:
        """Whether the tree is to end; `bound` is what it has proved so far."""
        now = self.state.elapsed
        if math.isfinite(bound):
            self.course.record(now - self.began, bound)
        if self._found(x):
            return True
        patience = max(_PATIENCE * (self.deadline - now), self.last - now if self.last > self.deadline else 0.0)
        self.seen += 1
        tried = now > self.trial and (self.seen > _TRIAL_NODES or now > self.deadline)
        self.late = tried and self.course.remaining(self.aim) > patience
        return self.late or self.state.done

    def _found(self, x: np.ndarray) -> bool:
        """Whether an input (n,), or what lies below it, settles the query or is a nearer witness than the best one so far."""
        if self.cells is None or self.spent > _DESCENTS * (self.state.elapsed - self.began) + 0.1:
            return False
        began, before = self.state.elapsed, self.state.upper
        pattern, violation = self.cells.look(np.clip(x, self.region.lower, self.region.upper))
        if violation < self.best:
            self.best = violation
            found = self.cells.best(pattern, Objective.MAX_MARGIN)
            if found is not None:
                found = self.cells.descend(found, Objective.MAX_MARGIN, enough=self._enough, steps=_STEPS)
                self.best = min(self.best, found.value)
                self.state.add_counterexample(found.point, self.name, self.subproblem.disjunct)
        self.spent += self.state.elapsed - began
        return self.state.done or (self.state.is_min_distortion and self.state.upper < before)

    def _enough(self, found: CellPoint) -> bool:
        """Whether a point is so unsafe that the executor's arithmetic will agree; margins have no such end."""
        if self.state.query.objective is Objective.MAX_MARGIN:
            return self.state.elapsed >= self.last
        return found.value < -1e-5 or self.state.elapsed >= self.last
