"""The MILP engine: mixed-integer programs in HiGHS (or another solver), one a target or one for all.

What the solver says, be it a bound or "infeasible", is a claim, which `confirm` proves again before it counts; the solver
gets only part of the time for that reason. Norm 2 goes by outer approximation: MILPs with tangents of the ball, a new
one at each solution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..bounds import Bounds
from ..encoding import Formulation, MixedIntegerProgram, encode
from ..norms import UnitBall, get_norm
from ..query import Objective
from ..solvers import Progress, SolveOptions, SolveResult, SolverStatus, get_solver
from ..solvers.safe_dual import safe_optimum
from ..specification import NormBall, Polytope, Region
from ..tightening import tighten
from .confirm import SOLVER_SHARE, at_least, by_tree, is_infeasible, nothing_at_most
from .polish import deepen, polish
from .root_cuts import strengthened
from .state import ABOVE_ZERO, SearchState, Subproblem
from .tangents import ROUNDING, with_tangent

_TIGHTENING_SHARE = 0.2  # of the time left, at most, for bounds from solves
_CUT_SHARE = 0.1  # of the time left, at most, for cuts at the root


class Milp:
    """The reference engine, and the closer of what the searches leave."""

    name = "milp"
    fraction = 1.0

    def run(self, state: SearchState, deadline: float) -> None:
        """Open subproblems one by one, most promising (lowest bound) first, or all of a disjunct in one program."""
        if any("is not trusted" in note for note in state.network.notes):
            state.notes.append("the MILP engine is not trusted on weights of this range")
            return
        for disjunct in state.excluded.disjuncts:
            subproblems = sorted((p for p in state.open_subproblems if p.disjunct is disjunct), key=lambda p: p.lower)
            groups = (
                [subproblems]
                if state.settings.milp.targets == "joint" and subproblems
                else [[subproblem] for subproblem in subproblems]
            )
            for group in groups:
                if state.done or state.elapsed >= deadline:
                    return
                if any(state.is_open(subproblem) for subproblem in group):
                    self._solve(state, group, deadline)

    def _solve(self, state: SearchState, subproblems: list[Subproblem], deadline: float) -> None:
        region = state.search_region(subproblems[0].region)
        unsafe = tuple(subproblem.polytope for subproblem in subproblems)
        form = Formulation(state.settings.milp.formulation, state.settings.milp.fix_stable)
        if region.ball is not None and region.ball.norm.unit_ball is UnitBall.EUCLIDEAN:
            self._quadratic(state, subproblems, region, unsafe, form, deadline)
            return
        bounds, objective = state.bounds(region), state.query.objective
        program = encode(state.network, bounds, region, unsafe, objective, form)
        if self._relaxed(state, program, subproblems, region, deadline):
            return
        if state.settings.milp.tighten != "none":
            bounds = self._tightened(state, bounds, region, unsafe, deadline)
            program = encode(state.network, bounds, region, unsafe, objective, form)
            if self._relaxed(state, program, subproblems, region, deadline):
                return
        if (
            state.settings.milp.cuts != "none" and program.cost.any()
        ):  # a relaxation without an objective has nothing to be raised
            own = program.matrix.shape[0]
            program = strengthened(state.network, program, _CUT_SHARE * max(deadline - state.elapsed, 0.0))
            state.count("cuts", program.matrix.shape[0] - own)
        state.statistics["binaries"] = max(int(state.statistics.get("binaries", 0)), program.binaries)
        until = state.elapsed + SOLVER_SHARE * max(deadline - state.elapsed, 0.0)
        result = self._run(state, program, until)
        if result.point is not None:
            self._offer(state, result.point[program.columns.inputs], subproblems)
        if state.done:
            return
        visit = _visitor(state, program, self.name)
        if result.status is SolverStatus.INFEASIBLE:
            if objective is Objective.MAX_MARGIN:  # nothing is as unsafe as the best point known
                tree = by_tree(state, program, state.upper, deadline, visit)
                if math.isfinite(state.upper):
                    self._prove(state, subproblems, tree.bound)
                known = True if tree.bound >= state.upper else False if tree.point is not None else None
            else:
                deepest = encode(state.network, bounds, region, unsafe, Objective.MAX_MARGIN, form)
                known = nothing_at_most(state, deepest, 0.0, deadline, visit)
            if known is None:
                known = is_infeasible(state, program, deadline, visit)
            if known:
                self._exclude(state, subproblems, region)
        elif objective is not Objective.FEASIBILITY and math.isfinite(result.dual_bound):
            bound = at_least(state, program, result, deadline, visit, _counts(state))
            if bound == math.inf:
                self._exclude(state, subproblems, region)
            else:
                self._prove(state, subproblems, bound)

    def _prove(self, state: SearchState, subproblems: list[Subproblem], value: float) -> None:
        """Raise the subproblems: no input of interest has a lower value; margins above the upper side are of no interest."""
        if state.query.objective is Objective.MAX_MARGIN:
            value = min(value, state.upper)
        for subproblem in subproblems:
            state.raise_lower_bound(subproblem, value, self.name)

    def _exclude(self, state: SearchState, subproblems: list[Subproblem], region: Region) -> None:
        """The search region holds no input of interest."""
        value = ABOVE_ZERO
        if state.is_min_distortion:
            reach = math.inf if state.is_l0 or region.ball is None else region.ball.radius
            value = min(reach, state.goal)
        elif state.query.objective is Objective.MAX_MARGIN and math.isfinite(state.upper):
            value = state.upper
        self._prove(state, subproblems, value)

    def _relaxed(
        self,
        state: SearchState,
        program: MixedIntegerProgram,
        subproblems: list[Subproblem],
        region: Region,
        deadline: float,
    ) -> bool:
        """Prove what the LP relaxation does, by its multipliers; whether nothing of the subproblems is left."""
        options = SolveOptions(time_limit=_TIGHTENING_SHARE * max(deadline - state.elapsed, 0.01))
        value, _ = safe_optimum(program.relaxed(), options)
        state.count("relaxations")
        if value == math.inf:
            self._exclude(state, subproblems, region)
        elif state.query.objective is not Objective.FEASIBILITY and math.isfinite(value):
            self._prove(state, subproblems, math.ceil(value - 1e-6) if _counts(state) else value)
        return state.done or not any(state.is_open(subproblem) for subproblem in subproblems)

    @staticmethod
    def _tightened(
        state: SearchState, known: Bounds, region: Region, unsafe: tuple[Polytope, ...], deadline: float
    ) -> Bounds:
        """Bounds for what is still of interest, by solves where the settings ask for them."""
        if state.settings.milp.tighten == "none":
            return known
        seconds = _TIGHTENING_SHARE * max(deadline - state.elapsed, 0.0)
        depth = state.upper if state.query.objective is Objective.MAX_MARGIN else 0.0
        return tighten(state.network, known, region, unsafe, seconds, state.settings.milp.tighten, depth)

    def _run(self, state: SearchState, program: MixedIntegerProgram, deadline: float) -> SolveResult:
        """One solve; incumbents reach the state as they come, bounds do not: they are claims."""

        def progress(event: Progress) -> bool:
            if event.incumbent is not None:
                state.add_counterexample(event.incumbent[program.columns.inputs], self.name)
            return state.query.objective is Objective.FEASIBILITY and state.witness is not None

        options = SolveOptions(
            time_limit=max(deadline - state.elapsed, 0.01),
            relative_gap=state.settings.gap / 10,
            absolute_gap=0.999 if _counts(state) else 1e-9,
            threads=state.settings.threads,
            seed=state.settings.seed,
            progress=progress,
        )
        result = get_solver(state.settings.milp.solver).solve(program, options)
        state.count("milp_solves")
        return result

    def _offer(self, state: SearchState, point: np.ndarray, subproblems: list[Subproblem]) -> None:
        moved = state.add_counterexample(point, self.name)
        for subproblem in subproblems:
            if state.query.objective is Objective.FEASIBILITY and state.witness is None:
                deepen(state, point, subproblem, self.name)
            elif state.is_min_distortion and not moved:
                polish(state, point, subproblem, self.name)

    def _quadratic(
        self,
        state: SearchState,
        subproblems: list[Subproblem],
        region: Region,
        unsafe: tuple[Polytope, ...],
        form: Formulation,
        deadline: float,
    ) -> None:
        """Norm 2: the ball as tangents, one more at each solution.

        For distances and verdicts minimise t >= ||x - center||_inf and t >= g (x - center) for unit vectors g; for
        margins, the violation over g (x - center) <= radius.
        """
        assert region.ball is not None
        center, radius = region.ball.center, region.ball.radius
        margins = state.query.objective is Objective.MAX_MARGIN
        boxed = Region(*region.bounding_box(), NormBall(center, get_norm("inf"), math.inf))
        bounds = self._tightened(state, state.bounds(region), region, unsafe, deadline)
        objective = Objective.MAX_MARGIN if margins else Objective.MIN_DISTORTION
        program = encode(state.network, bounds, boxed, unsafe, objective, form)
        far = math.sqrt(len(center)) * float(np.abs(np.stack(boxed.bounding_box()) - center).max())
        t = program.columns.distance
        if not margins:
            upper = program.col_upper.copy()
            upper[t] = min(radius, 2 * far + 1)
            program = replace(program, col_upper=upper)
        until = state.elapsed + SOLVER_SHARE * max(deadline - state.elapsed, 0.0)
        claimed: SolveResult | None = None
        while state.elapsed < until and not state.done:
            result = self._run(state, program, until)
            if result.status is SolverStatus.INFEASIBLE:
                claimed = result
                break
            if math.isfinite(result.dual_bound) and (claimed is None or result.dual_bound > claimed.dual_bound):
                claimed = result
            if result.point is None:
                break
            x = result.point[program.columns.inputs]
            self._offer(state, x, subproblems)
            length = float(np.linalg.norm(x - center))
            reach = radius if margins else float(result.point[t])
            if length - reach <= 0.1 * state.settings.gap * max(length, 1e-12) or length == 0.0:
                break
            program = with_tangent(program, center, (x - center) / length, radius if margins else None)
        if claimed is None or state.done:
            return
        visit = _visitor(state, program, self.name)
        if margins:
            target = replace(claimed, dual_bound=min(claimed.dual_bound, state.upper))
            if claimed.status is SolverStatus.INFEASIBLE:
                self._prove(state, subproblems, by_tree(state, program, state.upper, deadline, visit).bound)
            else:
                self._prove(state, subproblems, at_least(state, program, target, deadline, visit, False))
        elif claimed.status is SolverStatus.INFEASIBLE:
            upper = program.col_upper.copy()
            upper[t] = 2 * far + 1
            known = nothing_at_most(state, replace(program, col_upper=upper), radius, deadline, visit)
            if known is None:
                known = is_infeasible(state, program, deadline, visit)
            if known:
                self._exclude(state, subproblems, region)
        elif state.is_min_distortion:
            bound = at_least(state, program, claimed, deadline, visit, False)
            self._prove(state, subproblems, min(bound * (1 - ROUNDING), state.goal))


def _visitor(state: SearchState, program: MixedIntegerProgram, name: str) -> Callable[[np.ndarray], None]:
    """Offers the inputs of a program's points."""

    def visit(point: np.ndarray) -> None:
        state.add_counterexample(point[program.columns.inputs], name)

    return visit


def _counts(state: SearchState) -> bool:
    """Whether the values that are minimised are whole: distances in norm 0 are, margins in norm 0 are not."""
    return state.is_min_distortion and state.is_l0
