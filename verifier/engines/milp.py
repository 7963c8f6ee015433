"""The MILP engine: big-M programs in HiGHS (or another solver), one a target or one for all.

A MILP's "infeasible" alone is never a `robust`: HiGHS has called feasible big-M models infeasible out of presolve, so
that answer counts only when the elastic program, which is feasible whatever a solver says, has a positive optimum. Norm 2 goes by outer approximation: MILPs with tangents
of the ball, a new one at each solution.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from ..bounds import Bounds
from ..encoding import Formulation, MixedIntegerProgram, encode
from ..norms import get_norm
from ..query import Objective
from ..solvers import Progress, SolveOptions, SolveResult, SolverStatus, get_solver
from ..solvers.safe_dual import safe_optimum
from ..specification import NormBall, Polytope, Region
from ..tightening import tighten
from .polish import deepen, polish
from .root_cuts import strengthened
from .state import ABOVE_ZERO, Pair, SearchState

_TIGHTENING_SHARE = 0.2  # of the time left, at most, for bounds from solves
_CUT_SHARE = 0.1  # of the time left, at most, for cuts at the root
INFEASIBLE_BY = 5e-9  # least violation of a row: five times the tolerance of the solvers


class Milp:
    """The reference engine, and the closer of what the searches leave."""

    name = "milp"

    def run(self, state: SearchState, deadline: float) -> None:
        """Open pairs one by one, most promising (lowest bound) first, or all of a case in one program."""
        if any("is not trusted" in note for note in state.network.notes):
            state.notes.append("the MILP engine is not trusted on weights of this range")
            return
        for case in state.excluded.cases:
            pairs = sorted((p for p in state.open_pairs if p.case is case), key=lambda p: p.lower)
            groups = [pairs] if state.settings.joint and pairs else [[pair] for pair in pairs]
            for group in groups:
                if state.done or state.elapsed >= deadline:
                    return
                if any(state.is_open(pair) for pair in group):
                    self._solve(state, group, deadline)

    def _solve(self, state: SearchState, pairs: list[Pair], deadline: float) -> None:
        region = state.search_region(pairs[0].region)
        unsafe = tuple(pair.polytope for pair in pairs)
        form = Formulation(state.settings.symmetric, state.settings.fix_stable)
        if region.ball is not None and region.ball.norm.name == "2":
            self._quadratic(state, pairs, region, unsafe, form, deadline)
            return
        bounds, objective = state.bounds(region), state.query.objective
        program = encode(state.network, bounds, region, unsafe, objective, form)
        if self._relaxed(state, program, pairs, region, deadline):
            return
        if state.settings.obbt != "none":
            bounds = self._tightened(state, bounds, region, unsafe, deadline)
            program = encode(state.network, bounds, region, unsafe, objective, form)
            if self._relaxed(state, program, pairs, region, deadline):
                return
        if state.settings.cuts and program.cost.any():  # a relaxation without an objective has nothing to be raised
            own = program.matrix.shape[0]
            program = strengthened(state.network, program, _CUT_SHARE * max(deadline - state.elapsed, 0.0))
            state.count("cuts", program.matrix.shape[0] - own)
        state.statistics["binaries"] = max(int(state.statistics.get("binaries", 0)), program.binaries)
        result = self._run(state, program, pairs, deadline)
        if result.point is not None:
            self._offer(state, result.point[program.columns.inputs], pairs)
        if result.status is SolverStatus.INFEASIBLE:
            if self._second_opinion(state, program, deadline):
                self._exclude(state, pairs, region)
            return
        if state.query.objective is not Objective.FEASIBILITY and math.isfinite(result.dual_bound):
            bound = result.dual_bound - 1e-9 * (1 + abs(result.dual_bound))
            if _counts(state):
                bound = math.ceil(result.dual_bound - 1e-6)
            self._prove(state, pairs, bound)

    def _prove(self, state: SearchState, pairs: list[Pair], value: float) -> None:
        """No input of the pairs that is of interest has a lower value; for margins, those above the upper side are of none."""
        if state.query.objective is Objective.MAX_MARGIN:
            value = min(value, state.upper)
        for pair in pairs:
            state.prove(pair, value, self.name)

    def _exclude(self, state: SearchState, pairs: list[Pair], region: Region) -> None:
        """The search region holds no input of interest."""
        value = ABOVE_ZERO
        if state.distances:
            reach = math.inf if state.count_norm or region.ball is None else region.ball.radius
            value = min(reach, state.goal)
        elif state.query.objective is Objective.MAX_MARGIN and math.isfinite(state.upper):
            value = state.upper
        self._prove(state, pairs, value)

    def _relaxed(
        self, state: SearchState, program: MixedIntegerProgram, pairs: list[Pair], region: Region, deadline: float
    ) -> bool:
        """Prove what the LP relaxation does, by its multipliers; whether nothing of the pairs is left."""
        options = SolveOptions(time_limit=_TIGHTENING_SHARE * max(deadline - state.elapsed, 0.01))
        value, _ = safe_optimum(program.relaxed(), options)
        state.count("relaxations")
        if value == math.inf:
            self._exclude(state, pairs, region)
        elif state.query.objective is not Objective.FEASIBILITY and math.isfinite(value):
            self._prove(state, pairs, math.ceil(value - 1e-6) if _counts(state) else value)
        return state.done or not any(state.is_open(pair) for pair in pairs)

    @staticmethod
    def _tightened(
        state: SearchState, known: Bounds, region: Region, unsafe: tuple[Polytope, ...], deadline: float
    ) -> Bounds:
        """Bounds for what is still of interest, by solves where the settings ask for them."""
        if state.settings.obbt == "none":
            return known
        seconds = _TIGHTENING_SHARE * max(deadline - state.elapsed, 0.0)
        depth = state.upper if state.query.objective is Objective.MAX_MARGIN else 0.0
        return tighten(
            state.network, known, region, unsafe, seconds, state.settings.obbt, depth, state.settings.threads
        )

    def _run(self, state: SearchState, program: MixedIntegerProgram, pairs: list[Pair], deadline: float) -> SolveResult:
        """One solve; incumbents and bounds reach the state as they come."""

        def progress(event: Progress) -> bool:
            if event.incumbent is not None:
                state.offer(event.incumbent[program.columns.inputs], self.name)
            if state.distances and not state.count_norm and math.isfinite(event.dual) and program.hessian is None:
                for pair in pairs:
                    state.prove(pair, event.dual - 1e-9 * (1 + abs(event.dual)), self.name)
            return state.query.objective is Objective.FEASIBILITY and state.witness is not None

        options = SolveOptions(
            time_limit=max(deadline - state.elapsed, 0.01),
            relative_gap=state.settings.gap / 10,
            absolute_gap=0.999 if _counts(state) else 1e-9,
            threads=state.settings.threads,
            seed=state.settings.seed,
            progress=progress,
        )
        result = get_solver(state.settings.solver).solve(program, options)
        state.count("milp_solves")
        return result

    def _second_opinion(self, state: SearchState, program: MixedIntegerProgram, deadline: float) -> bool:
        """Whether every input violates some row of an infeasible program by more than the solver's tolerances."""

        def enough(event: Progress) -> bool:
            return event.dual > INFEASIBLE_BY

        options = SolveOptions(
            time_limit=max(deadline - state.elapsed, 1.0), threads=state.settings.threads, progress=enough
        )
        again = get_solver(state.settings.solver).solve(program.elastic(), options)
        state.count("second_opinions")
        if again.status is not SolverStatus.INFEASIBLE and again.dual_bound > INFEASIBLE_BY:
            return True
        if again.point is not None:
            state.offer(again.point[program.columns.inputs], self.name)
        state.notes.append("a MILP called infeasible was not confirmed by its elastic form; the answer was discarded")
        return False

    def _offer(self, state: SearchState, point: np.ndarray, pairs: list[Pair]) -> None:
        moved = state.offer(point, self.name)
        for pair in pairs:
            if state.query.objective is Objective.FEASIBILITY and state.witness is None:
                deepen(state, point, pair)
            elif state.distances and not moved and math.isfinite(state.upper):
                polish(state, point, pair)

    def _quadratic(
        self,
        state: SearchState,
        pairs: list[Pair],
        region: Region,
        unsafe: tuple[Polytope, ...],
        form: Formulation,
        deadline: float,
    ) -> None:
        """Norm 2: minimise t >= ||x - center||_inf and t >= g (x - center) for unit vectors g found on the way."""
        assert region.ball is not None
        center, radius = region.ball.center, region.ball.radius
        boxed = Region(*region.bounding_box(), NormBall(center, get_norm("inf"), math.inf))
        bounds = self._tightened(state, state.bounds(region), region, unsafe, deadline)
        program = encode(state.network, bounds, boxed, unsafe, Objective.MIN_DISTORTION, form)
        t = program.columns.distance
        upper = program.col_upper.copy()
        upper[t] = radius if math.isfinite(radius) else math.sqrt(len(center)) * max(upper[t], 1.0)
        program = replace(program, col_upper=upper)
        while state.elapsed < deadline and not state.done:
            options = SolveOptions(
                time_limit=max(deadline - state.elapsed, 0.01),
                relative_gap=state.settings.gap / 10,
                threads=state.settings.threads,
                seed=state.settings.seed,
            )
            result = get_solver(state.settings.solver).solve(program, options)
            state.count("milp_solves")
            if result.status is SolverStatus.INFEASIBLE:
                if self._second_opinion(state, program, deadline):
                    for pair in pairs:
                        state.prove(pair, min(radius, state.goal) if state.distances else ABOVE_ZERO, self.name)
                return
            if state.distances and math.isfinite(result.dual_bound):
                for pair in pairs:
                    state.prove(pair, result.dual_bound * (1 - 1e-9), self.name)
            if result.point is None:
                return
            x = result.point[program.columns.inputs]
            self._offer(state, x, pairs)
            length = float(np.linalg.norm(x - center))
            found = float(result.point[t])
            if length - found <= 0.1 * state.settings.gap * max(length, 1e-12) or length == 0.0:
                return
            row = sp.lil_matrix((1, len(program.cost)))
            row[0, program.columns.inputs] = (x - center) / length
            row[0, t] = -1.0
            limit = float((x - center) @ center / length)
            program = program.with_rows(sp.csr_matrix(row), np.array([-np.inf]), np.array([limit]))


def _counts(state: SearchState) -> bool:
    """Whether the values that are minimised are whole: distances in norm 0 are, margins in norm 0 are not."""
    return state.distances and state.count_norm
