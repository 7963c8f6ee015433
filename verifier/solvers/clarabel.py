"""Clarabel, an interior-point solver, for convex QPs and balls of norm 2 without integers: cells, leaves, nodes of l2 queries.

HiGHS solves these with an active-set method, which takes seconds where there are hundreds of inputs (one l2 ball around
an MNIST image: 5 s and more, against 0.1 s here).
"""

from __future__ import annotations

import time
from dataclasses import replace

import clarabel
import numpy as np
import scipy.sparse as sp

from ..encoding import MixedIntegerProgram
from .highs import LpAnswer
from .protocol import SolveOptions, SolveResult, SolverStatus

_TOLERANCE = 1e-10
_STATUS = {
    "Solved": SolverStatus.OPTIMAL,
    "PrimalInfeasible": SolverStatus.INFEASIBLE,
    "DualInfeasible": SolverStatus.UNBOUNDED,
    "AlmostSolved": SolverStatus.LIMIT_WITH_INCUMBENT,
    "MaxIterations": SolverStatus.LIMIT,
    "MaxTime": SolverStatus.LIMIT,
    "InsufficientProgress": SolverStatus.LIMIT,
}


class Clarabel:
    """LPs, convex QPs, and either inside a ball (a second-order cone); the point may miss its rows by about 1e-9."""

    name = "clarabel"
    features = frozenset({"lp", "qp", "qcp"})
    through = "clarabel"
    install = "comes with advverify"
    isolated = False

    def version(self) -> str:
        """Clarabel's version."""
        return str(clarabel.__version__)

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve; the dual bound is the dual objective, which holds within the tolerance.

        Raises:
            ValueError: the program has integers.
        """
        if program.binaries:
            raise ValueError("Clarabel solves no programs with integers")
        began = time.perf_counter()
        free = program.col_lower < program.col_upper
        fixed = np.where(free, 0.0, program.col_lower)
        matrix, constant = program.matrix[:, free], program.matrix @ fixed
        equal = program.row_lower == program.row_upper
        above, below = program.row_upper - constant, program.row_lower - constant
        numbers = np.arange(len(equal))
        rows, sides, owners = [matrix[equal]], [above[equal]], [(numbers[equal], -1.0)]
        unit = sp.identity(int(free.sum()), format="csr")
        for part, values, sign in (
            (matrix[~equal], above[~equal], 1.0),
            (matrix[~equal], below[~equal], -1.0),
            (unit, program.col_upper[free], 1.0),
            (unit, program.col_lower[free], -1.0),
        ):
            chosen = np.isfinite(values)
            rows.append(sign * part[chosen])
            sides.append(sign * values[chosen])
            if part is not unit:
                owners.append((numbers[~equal][chosen], -sign))
        hessian = np.zeros(len(free)) if program.hessian is None else program.hessian
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.time_limit = max(options.time_limit, 1e-3)
        settings.max_threads = options.threads
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = _TOLERANCE
        cones = [clarabel.ZeroConeT(int(equal.sum())), clarabel.NonnegativeConeT(sum(len(s) for s in sides[1:]))]
        if program.ball is not None:  # (radius, x - center) lies in the cone
            ball = program.ball
            members = sp.identity(len(free), format="csr")[ball.columns][:, free]
            rows += [sp.csr_matrix((1, members.shape[1])), -members]
            sides += [np.array([ball.radius]), fixed[ball.columns] - ball.center]
            cones.append(clarabel.SecondOrderConeT(1 + len(ball.columns)))
        quadratic, linear = sp.diags(hessian[free]).tocsc(), program.cost[free]
        stacked = sp.vstack(rows).tocsc()
        solution = clarabel.DefaultSolver(quadratic, linear, stacked, np.concatenate(sides), cones, settings).solve()
        status = _STATUS.get(str(solution.status), SolverStatus.ERROR)
        seconds = time.perf_counter() - began
        row_dual, multipliers = np.zeros(len(equal)), np.asarray(solution.z)
        for own, factor in owners:
            row_dual[own] += factor * multipliers[: len(own)]
            multipliers = multipliers[len(own) :]
        ball_dual = None if program.ball is None else multipliers[-len(program.ball.columns) :]
        if status not in (SolverStatus.OPTIMAL, SolverStatus.LIMIT_WITH_INCUMBENT):
            return SolveResult(
                status, None, float("inf"), -float("inf"), seconds, row_dual, ball_dual, iterations=solution.iterations
            )
        point = fixed.copy()
        point[free] = np.asarray(solution.x)
        shift = program.objective(fixed)
        dual = float(solution.obj_val_dual) + shift if status is SolverStatus.OPTIMAL else -float("inf")
        return SolveResult(
            status, point, program.objective(point), dual, seconds, row_dual, ball_dual, iterations=solution.iterations
        )


class ClarabelPrograms:
    """Convex programs that differ in their objectives' linear part and column bounds alone, solved one after another.

    They answer like `HighsLps`: multipliers where there is an optimum, a ray where there is no feasible point.
    """

    def __init__(self, program: MixedIntegerProgram) -> None:
        """The relaxation of a program with a quadratic objective or a ball."""
        self._program, self._solver = program.relaxed(), Clarabel()
        self.iterations = 0  # of the interior-point method, over all solves

    def set_cost(self, cost: np.ndarray) -> None:
        """From now on minimise `cost x + x hessian x / 2`."""
        self._program = replace(self._program, cost=cost)

    def set_bounds(self, columns: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """From now on `low <= x[columns] <= high`."""
        lower, upper = self._program.col_lower.copy(), self._program.col_upper.copy()
        lower[columns], upper[columns] = low, high
        self._program = replace(self._program, col_lower=lower, col_upper=upper)

    def solve(self, seconds: float, cutoff: float = np.inf) -> LpAnswer:
        """Solve; a cut-off does not end it sooner."""
        result = self._solver.solve(self._program, SolveOptions(time_limit=seconds))
        self.iterations += result.iterations or 0
        infeasible = result.status is SolverStatus.INFEASIBLE
        dual = None if infeasible or result.point is None else result.row_dual
        ray = result.row_dual if infeasible else None
        return LpAnswer(result.point, dual, ray, seconds <= result.seconds, result.ball_dual)
