"""PuLP: other MILP solvers.

PuLP 3.3 reports a HiGHS time-out with an incumbent as "Optimal", so no verdict is ever taken from its status alone:
`sol_status` decides, and whatever it cannot tell apart becomes the weaker word.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pulp

from ..encoding import MixedIntegerProgram
from ..errors import InvalidInput, SolverUnavailable
from .protocol import SolveOptions, SolveResult, SolverStatus


def to_pulp(program: MixedIntegerProgram, name: str = "advverify") -> tuple[pulp.LpProblem, list[pulp.LpVariable]]:
    """The program as a PuLP problem, and its variables in column order.

    Raises:
        InvalidInput: the objective is quadratic.
    """
    if program.hessian is not None:
        raise InvalidInput("PuLP has no quadratic objectives: choose another solver for norm 2")

    def side(value: float) -> float | None:
        return None if np.isinf(value) else float(value)

    problem = pulp.LpProblem(name, pulp.LpMinimize)
    variables = [
        pulp.LpVariable(
            f"c{j}", side(program.col_lower[j]), side(program.col_upper[j]), "Integer" if whole else "Continuous"
        )
        for j, whole in enumerate(program.integer)
    ]
    problem += pulp.LpAffineExpression(
        [(variables[j], float(program.cost[j])) for j in np.flatnonzero(program.cost)]
    ) + (program.offset)
    matrix = program.matrix
    for i in range(matrix.shape[0]):
        span = slice(matrix.indptr[i], matrix.indptr[i + 1])
        terms = zip(matrix.indices[span], matrix.data[span], strict=True)
        expression = pulp.LpAffineExpression([(variables[j], float(v)) for j, v in terms])
        low, high = program.row_lower[i], program.row_upper[i]
        if low == high:
            problem += pulp.LpConstraint(expression, pulp.LpConstraintEQ, f"r{i}", float(low))
            continue
        if np.isfinite(high):
            problem += pulp.LpConstraint(expression, pulp.LpConstraintLE, f"r{i}u", float(high))
        if np.isfinite(low):
            problem += pulp.LpConstraint(expression.copy(), pulp.LpConstraintGE, f"r{i}l", float(low))
    return problem, variables


class Cbc:
    """CBC, which PuLP ships."""

    name = "cbc"
    features = frozenset({"lp", "milp"})

    def command(self, options: SolveOptions) -> Any:
        """The PuLP solver object.

        Raises:
            SolverUnavailable: PuLP finds no CBC binary.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PuLP announces that it will ship CBC in another way
            command = pulp.PULP_CBC_CMD(
                msg=False, timeLimit=options.time_limit, gapRel=options.relative_gap, threads=options.threads
            )
        if not command.available():
            raise SolverUnavailable("CBC is not installed: PuLP brings it on most platforms; or choose --solver highs")
        return command

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve; the dual bound is known only when CBC says that it finished."""
        started = time.perf_counter()
        problem, variables = to_pulp(program)
        problem.solve(self.command(options))
        seconds = time.perf_counter() - started
        point = None
        if problem.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
            point = np.array([v.value() if v.value() is not None else 0.0 for v in variables], dtype=np.float64)
        objective = program.objective(point) if point is not None else float("inf")
        if problem.sol_status == pulp.LpSolutionOptimal and seconds < 0.95 * options.time_limit:
            return SolveResult(SolverStatus.OPTIMAL, point, objective, objective, seconds)
        if problem.sol_status == pulp.LpSolutionInfeasible and seconds < 0.95 * options.time_limit:
            return SolveResult(SolverStatus.INFEASIBLE, None, float("inf"), -float("inf"), seconds)
        status = SolverStatus.LIMIT if point is None else SolverStatus.LIMIT_WITH_INCUMBENT
        return SolveResult(status, point, objective, -float("inf"), seconds)
