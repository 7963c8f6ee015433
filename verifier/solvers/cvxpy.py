"""CVXPY: the reference back end, and MIQP through SCIP."""

from __future__ import annotations

import time
import warnings
from typing import Any

import cvxpy as cp
import numpy as np

from ..encoding import MixedIntegerProgram
from ..errors import SolverUnavailable
from .protocol import SolveOptions, SolveResult, SolverStatus


def to_cvxpy(program: MixedIntegerProgram) -> tuple[cp.Problem, cp.Variable]:
    """The program as a CVXPY problem over one vector variable."""
    whole = np.flatnonzero(program.integer)
    x = cp.Variable(len(program.cost))
    constraints: list[Any] = [x[whole] == cp.Variable(len(whole), integer=True)] if len(whole) else []
    equal = program.row_lower == program.row_upper
    for chosen, sign, side in (
        (equal, 0, program.row_upper),
        (~equal & np.isfinite(program.row_upper), 1, program.row_upper),
        (~equal & np.isfinite(program.row_lower), -1, program.row_lower),
    ):
        rows = np.flatnonzero(chosen)
        if len(rows):
            activity = program.matrix[rows] @ x
            constraints.append(activity == side[rows] if sign == 0 else sign * activity <= sign * side[rows])
    for side, sign in ((program.col_upper, 1), (program.col_lower, -1)):
        limited = np.flatnonzero(np.isfinite(side))
        constraints.append(sign * x[limited] <= sign * side[limited])
    objective = program.cost @ x + program.offset
    if program.hessian is not None:
        present = np.flatnonzero(program.hessian)
        objective = objective + 0.5 * cp.sum(cp.multiply(program.hessian[present], cp.square(x[present])))
    return cp.Problem(cp.Minimize(objective), constraints), x


class Scip:
    """SCIP through CVXPY; needs pyscipopt (`pip install advverify[scip]`)."""

    name = "scip"
    features = frozenset({"lp", "milp", "qp", "miqp"})

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve; CVXPY hands back no dual bound unless SCIP finished.

        Raises:
            SolverUnavailable: pyscipopt is not installed.
        """
        if "SCIP" not in cp.installed_solvers():
            raise SolverUnavailable("SCIP is not installed: pip install 'advverify[scip]', or choose --solver highs")
        problem, x = to_cvxpy(program)
        started = time.perf_counter()
        parameters = {
            "limits/time": options.time_limit,
            "limits/gap": options.relative_gap,
            "numerics/feastol": 1e-9,
            "randomization/randomseedshift": options.seed,
        }
        if not options.presolve:
            parameters["presolving/maxrounds"] = 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "solution may be inaccurate" at a limit: the status says it better
                problem.solve(solver=cp.SCIP, scip_params=parameters)
        except cp.SolverError:
            return SolveResult(SolverStatus.LIMIT, None, float("inf"), -float("inf"), time.perf_counter() - started)
        seconds = time.perf_counter() - started
        point = None if x.value is None else np.asarray(x.value, dtype=np.float64)
        if problem.status == cp.OPTIMAL:
            return SolveResult(SolverStatus.OPTIMAL, point, float(problem.value), float(problem.value), seconds)
        if problem.status == cp.INFEASIBLE:
            return SolveResult(SolverStatus.INFEASIBLE, None, float("inf"), -float("inf"), seconds)
        if point is not None:
            return SolveResult(
                SolverStatus.LIMIT_WITH_INCUMBENT, point, program.objective(point), -float("inf"), seconds
            )
        return SolveResult(SolverStatus.LIMIT, None, float("inf"), -float("inf"), seconds)
