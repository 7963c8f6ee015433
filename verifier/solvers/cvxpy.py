"""CVXPY: quadratic objectives for solvers that PuLP has none for, and an independent reference."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..encoding import MixedIntegerProgram
from .protocol import SolveOptions, SolveResult, SolverStatus
from .sane import relative_violation

_HOLDS = 1e-6  # relative violation of an optimal point
_LATE = 0.95  # of the time limit: what ends later was stopped by it, whatever it is called


def to_cvxpy(program: MixedIntegerProgram) -> tuple[Any, Any]:
    """The program as a CVXPY problem over one vector variable."""
    import cvxpy as cp

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


def through_cvxpy(
    run: Callable[[Any, SolveOptions, float], None], program: MixedIntegerProgram, options: SolveOptions, version: str
) -> SolveResult:
    """Solve a program through CVXPY, which names no dual bound: one is claimed where the solver finished in time.

    Args:
        run: solves a CVXPY problem within some seconds.
        program: of any kind.
        options: limits.
        version: of the solver.
    """
    import cvxpy as cp

    began = time.perf_counter()
    problem, x = to_cvxpy(program)
    seconds = options.time_limit - (time.perf_counter() - began)
    if seconds <= 0:
        return SolveResult(SolverStatus.LIMIT, None, math.inf, -math.inf, options.time_limit, version=version)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "solution may be inaccurate" at a limit: the status says it better
            run(problem, options, seconds)
    except cp.SolverError:
        if time.perf_counter() - started < _LATE * seconds:
            raise
    late = time.perf_counter() - started >= _LATE * seconds
    spent = time.perf_counter() - began
    point = None if x.value is None else np.asarray(x.value, dtype=np.float64)
    if point is None:
        empty = problem.status == cp.INFEASIBLE and not late
        status = SolverStatus.INFEASIBLE if empty else SolverStatus.LIMIT
        if problem.status == cp.UNBOUNDED and not late:
            status = SolverStatus.UNBOUNDED
        return SolveResult(status, None, math.inf, -math.inf, spent, version=version)
    objective = program.objective(point)
    if problem.status == cp.OPTIMAL and not late and relative_violation(program, point) <= _HOLDS:
        allowed = max(options.absolute_gap, options.relative_gap * abs(objective))
        return SolveResult(SolverStatus.OPTIMAL, point, objective, objective - allowed, spent, version=version)
    return SolveResult(SolverStatus.LIMIT_WITH_INCUMBENT, point, objective, -math.inf, spent, version=version)
