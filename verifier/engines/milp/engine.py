"""The MILP engine: big-M programs in HiGHS (or another solver), one a target or one for all.

It stands alone: where nothing has been attacked yet it makes its own search ball, relaxations of all targets come first and
say which one is taken up first, bounds from LPs over what is unsafe tighten each program, rows of ideal formulations are
separated at the root, the best witness is the solver's start, and every bound that is proved reaches the state at once.
What the solver says, be it a bound or "infeasible", is a claim, which `confirm` proves again before it counts; the solver
gets only part of the time for that reason. Norm 2 is `euclidean`.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ...query import Objective
from ...solvers import SolveResult, SolverStatus
from ..state import ABOVE_ZERO, SearchState
from .beyond import step_beyond
from .confirm import LOWERED, SOLVER_SHARE, at_least, by_rows, by_tree, next_whole, nothing_unsafe
from .euclidean import solve_euclidean
from .relaxation import SHARE, relaxed
from .root_cuts import strengthened
from .solves import enough, run_solver, run_tree
from .target import BELOW_TIES, Target, trusted

_ATTACK_SHARE = 0.2  # of the time left, at most, for a first witness where there is none
_CUT_SHARE = 0.1  # of the time left, at most, for cuts at the root


class Milp:
    """The reference engine, and the closer of what the searches leave."""

    name = "milp"
    fraction = 1.0

    def run(self, state: SearchState, deadline: float) -> None:
        """Relax all targets, then solve one after another, lowest relaxation first; or all of a disjunct in one program."""
        if not trusted(state):
            return
        if math.isinf(state.upper) and state.query.objective is not Objective.FEASIBILITY:
            from ..falsify import Falsify

            Falsify().run(state, state.elapsed + _ATTACK_SHARE * max(deadline - state.elapsed, 0.0))
        for disjunct in state.excluded.disjuncts:
            open_ = [subproblem for subproblem in state.open_subproblems if subproblem.disjunct is disjunct]
            joint = state.settings.milp.targets == "joint"
            targets = [Target(state, group) for group in ([open_] if joint and open_ else [[each] for each in open_])]
            for target in targets:
                if _late(state, deadline):
                    return
                relaxed(state, target, "lp", deadline, self.name, SHARE / len(targets))
                target.forget()
            for target in sorted(targets, key=lambda target: target.lower):
                if _late(state, deadline):
                    return
                if target.open:
                    self._solve(state, target, deadline)
            for target in sorted(targets, key=lambda target: target.lower):
                if _late(state, deadline):
                    return
                if target.open and target.stopped:
                    target.refresh()
                    self._searched(state, target, deadline)
                step_beyond(state, target, deadline, self.name)

    def _solve(self, state: SearchState, target: Target, deadline: float) -> None:
        if target.refresh() and relaxed(state, target, "lp", deadline, self.name):  # the ball has become smaller since
            return
        if state.settings.milp.tighten != "none":
            target.tighten(SHARE * max(deadline - state.elapsed, 0.0))
            if relaxed(state, target, "tightened", deadline, self.name):
                return
        if target.euclidean:
            solve_euclidean(state, target, deadline, self.name)
            return
        if state.settings.milp.cuts != "none" and target.program.cost.any():  # else there is nothing to be raised
            own = target.program.matrix.shape[0]
            program = strengthened(target.program, _CUT_SHARE * max(deadline - state.elapsed, 0.0))
            target.program = program
            state.count("cuts", program.matrix.shape[0] - own)
            if program.matrix.shape[0] > own and relaxed(state, target, "cuts", deadline, self.name):
                return
        program = target.program
        state.statistics["binaries"] = max(int(state.statistics.get("binaries", 0)), program.binaries)
        until = state.elapsed + SOLVER_SHARE * max(deadline - state.elapsed, 0.0)
        result, index = run_solver(state, target, program, until, self.name)
        if state.done:
            return
        tie = state.query.objective is Objective.FEASIBILITY and result.point is not None
        if tie or result.status is SolverStatus.ERROR:
            # What was found is no witness, and only deeper points are; or no solver is left. Our own tree is.
            self._searched(state, target, deadline)
            return
        before = target.lower
        target.stopped = result.status is not SolverStatus.OPTIMAL
        self._confirm(state, target, result, deadline)
        if target.lower > before:
            target.confirmed(index, target.lower)

    def _searched(self, state: SearchState, target: Target, until: float) -> None:
        """Our own tree over the program as it is."""
        if state.query.objective is Objective.FEASIBILITY:
            deepest = target.encode(Objective.MAX_MARGIN)
            tree = run_tree(state, target, deepest, ABOVE_ZERO, until, self.name, threshold=BELOW_TIES)
            if tree.bound >= ABOVE_ZERO:
                target.exclude(self.name)
        else:
            bound = run_tree(state, target, target.program, state.goal, until, self.name).bound
            if bound == math.inf:
                target.exclude(self.name)
            else:
                target.prove(next_whole(bound) if target.counts else bound, self.name)

    def _confirm(self, state: SearchState, target: Target, result: SolveResult, deadline: float) -> None:
        """Prove again what the solver claims."""
        program = target.program
        if result.status is SolverStatus.INFEASIBLE:
            if state.query.objective is Objective.MAX_MARGIN:  # nothing is as unsafe as the best point known
                tree = by_tree(state, target, program, state.upper, deadline, self.name)
                if math.isfinite(state.upper):
                    target.prove(tree.bound, self.name)
                known = True if tree.bound >= state.upper else False if tree.point is not None else None
            else:
                known = None
                if any(
                    len(polytope.offset) > 1 for polytope in target.unsafe
                ):  # else there are no rows to be taken together
                    known = True if by_rows(state, target, program, deadline, self.name) else None
                if known is None:
                    known = nothing_unsafe(state, target, target.encode(Objective.MAX_MARGIN), deadline, self.name)
            if known is None:
                state.notes.append("a MILP called infeasible was not proved so in time; the answer was discarded")
            if known:
                target.exclude(self.name)
        elif state.query.objective is not Objective.FEASIBILITY and math.isfinite(result.dual_bound):
            needed = min(result.dual_bound, enough(state.goal))  # nothing is gained by what is beyond
            if _news(needed, target.counts) <= target.lower:
                target.stopped = True
                return
            result = replace(result, dual_bound=needed)
            bound = at_least(state, target, program, result, deadline, self.name, target.counts)
            if bound == math.inf:
                target.exclude(self.name)
            else:
                target.prove(bound, self.name)


def _news(claim: float, whole: bool) -> float:
    """As much of a claim as `at_least` tries to prove."""
    return next_whole(claim) if whole else claim - LOWERED * (1 + abs(claim))


def _late(state: SearchState, deadline: float) -> bool:
    return state.done or state.elapsed >= deadline
