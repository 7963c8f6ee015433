"""Solvers that PuLP builds models for. It is the modelling layer and no more: none of its statuses counts.

PuLP 3.3 calls optimal what GLPK or HiGHS left at a time limit with a point, and infeasible what CPLEX left there without one
or what Gurobi cannot tell from unbounded. So every solver is asked itself, through its own interface or log (`packages`, `programs`), and
whatever cannot be told apart becomes the weaker word. PuLP is imported where it is used: it imports every solver that it finds.
"""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..encoding import MixedIntegerProgram
from ..errors import InvalidInput, SolverUnavailable
from .protocol import SolveOptions, SolveResult, SolverStatus
from .sane import least_objective, relative_violation

_HOLDS = 1e-6  # relative violation of an optimal point
_ROUNDING = 1e-6  # relative, of numbers in logs and files


def to_pulp(program: MixedIntegerProgram, name: str = "advverify") -> tuple[Any, list[Any]]:
    """The program as a PuLP problem, and its variables in column order.

    Raises:
        InvalidInput: the objective is quadratic.
    """
    import pulp

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
    if problem.numConstraints() == 0:  # a file without rows is read by hardly any solver
        low = float(program.col_lower[0])
        expression = pulp.LpAffineExpression([(variables[0], 1.0)])
        problem += pulp.LpConstraint(expression, pulp.LpConstraintGE, "none", max(low, -1e20))
    return problem, variables


class ThroughPulp(ABC):
    """A solver that PuLP builds models of linear programs for.

    A subclass says which parameters the solver takes, and what it says of itself afterwards.
    """

    name: str
    features: frozenset[str]
    through: str
    install: str
    isolated = True
    command: str  # the class in PuLP

    @abstractmethod
    def version(self) -> str:
        """Its version.

        Raises:
            SolverUnavailable: it is not installed.
        """

    def missing(self) -> SolverUnavailable:
        """The error of a solver that is not there."""
        return SolverUnavailable(f"{self.name} is not installed: {self.install}, or choose the solver highs")

    @abstractmethod
    def parameters(self, options: SolveOptions, seconds: float, mip: bool, log: Path) -> dict[str, Any]:
        """Arguments of the class in PuLP."""

    @abstractmethod
    def evidence(
        self, problem: Any, command: Any, variables: list[Any], mip: bool, log: str, options: SolveOptions
    ) -> Evidence:
        """What the solver itself says after a solve."""

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve, and believe what the solver itself says as far as its point and bound bear it out.

        Raises:
            InvalidInput: the objective is quadratic.
            SolverUnavailable: it is not installed.
        """
        version = self.version()
        began = time.perf_counter()
        mip = program.binaries > 0
        problem, variables = to_pulp(replace(program, offset=0.0))
        seconds = options.time_limit - (time.perf_counter() - began)
        if seconds <= 0:  # PuLP takes 0 for "no limit"
            return SolveResult(SolverStatus.LIMIT, None, math.inf, -math.inf, options.time_limit, version=version)
        start = options.start is not None and "start" in self.features and mip
        if start and options.start is not None:
            for variable, value, whole in zip(variables, options.start.tolist(), program.integer, strict=True):
                variable.setInitialValue(round(value) if whole else value, check=False)
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            parameters = self.parameters(options, seconds, mip, log)
            if start:
                parameters["warmStart"] = True
            command = self.make(parameters)
            command.tmpDir = folder
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PuLP's, about its own future
                problem.solve(command)
            text = log.read_text(errors="replace") if log.exists() else ""
        said = self.evidence(problem, command, variables, mip, text, options)
        return judged(program, options, said, time.perf_counter() - began, said.version or version)

    def make(self, parameters: dict[str, Any]) -> Any:
        """The solver's object in PuLP."""
        import pulp

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(pulp, self.command)(msg=False, **parameters)


@dataclass(frozen=True)
class Evidence:
    """What a solver says of itself: status, values of its point by column, dual bound without the program's offset.

    `either` where it cannot tell "infeasible" from "unbounded".
    """

    status: SolverStatus
    values: Sequence[float] | None = None
    dual: float = -math.inf
    nodes: int | None = None
    iterations: int | None = None
    version: str = ""
    either: bool = False


def judged(
    program: MixedIntegerProgram, options: SolveOptions, said: Evidence, seconds: float, version: str
) -> SolveResult:
    """The result that evidence bears out: optimal is what has a point that holds and no more of a gap than was asked for."""
    point, objective, status = None, math.inf, said.status
    if said.either:  # columns' bounds may say which
        status = SolverStatus.INFEASIBLE if math.isfinite(least_objective(program)) else SolverStatus.LIMIT
    if said.values is not None and status is not SolverStatus.INFEASIBLE:
        point = np.array(said.values, dtype=np.float64)
        objective = program.objective(point)
    dual = said.dual + program.offset
    if status is SolverStatus.OPTIMAL:
        allowed = max(options.absolute_gap, options.relative_gap * abs(objective))
        if not math.isfinite(dual):
            dual = objective - allowed
        off = point is None or relative_violation(program, point) > _HOLDS
        if off or objective - dual > allowed + _ROUNDING * (1 + abs(objective)):
            status = SolverStatus.LIMIT
        dual = min(dual, objective)
    elif status in (SolverStatus.INFEASIBLE, SolverStatus.UNBOUNDED):
        dual = -math.inf
    if status in (SolverStatus.LIMIT, SolverStatus.LIMIT_WITH_INCUMBENT):
        status = SolverStatus.LIMIT if point is None else SolverStatus.LIMIT_WITH_INCUMBENT
    if math.isinf(dual):
        dual = -math.inf
    return SolveResult(
        status, point, objective, dual, seconds, nodes=said.nodes, iterations=said.iterations, version=version
    )


def values_of(variables: list[Any]) -> list[float]:
    """What PuLP read; columns that a file leaves out are 0."""
    return [0.0 if v.value() is None else float(v.value()) for v in variables]
