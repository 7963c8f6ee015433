"""Gurobi, CPLEX, Xpress, COPT and Mosek, Python packages that PuLP and CVXPY build models for: which parameters each takes, and
where its own model says how a solve ended. Apart from Mosek they solve small programs without a licence.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from abc import abstractmethod
from pathlib import Path
from typing import Any

from ..encoding import MixedIntegerProgram
from .cvxpy import through_cvxpy
from .protocol import SolveOptions, SolveResult, SolverStatus
from .pulp import Evidence, ThroughPulp, values_of

_TOLERANCE = 1e-9
_INFINITE = 1e20  # from here on numbers stand for infinity, for all of these solvers


class Package(ThroughPulp):
    """A Python package; quadratic objectives go through CVXPY."""

    features = frozenset({"lp", "milp", "qp", "miqp", "start", "nodes", "bound"})
    package: str  # that has to be there

    def version(self) -> str:
        """The version of its package.

        Raises:
            SolverUnavailable: it is not installed.
        """
        if importlib.util.find_spec(self.package) is None:
            raise self.missing()
        return importlib.metadata.version(self.package)

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve, and believe what the solver itself says as far as its point and bound bear it out.

        Raises:
            SolverUnavailable: it is not installed.
        """
        if program.hessian is None:
            return super().solve(program, options)
        return through_cvxpy(self.quadratic, program, options, self.version())

    @abstractmethod
    def quadratic(self, problem: Any, options: SolveOptions, seconds: float) -> None:
        """Solve a CVXPY problem."""


class Gurobi(Package):
    """Gurobi; its package brings a licence for small programs."""

    name = "gurobi"
    through = "PuLP and CVXPY, package gurobipy"
    install = "pip install gurobipy"
    command, package = "GUROBI", "gurobipy"

    def parameters(self, options: SolveOptions, seconds: float, mip: bool, log: Path) -> dict[str, Any]:
        """Gurobi's own."""
        return {"timeLimit": seconds, "gapRel": options.relative_gap, **self._own(options)}

    def _own(self, options: SolveOptions) -> dict[str, Any]:
        return {
            "MIPGapAbs": options.absolute_gap,
            "Threads": options.threads,
            "Seed": options.seed,
            "Presolve": -1 if options.presolve else 0,
            "FeasibilityTol": _TOLERANCE,
            "IntFeasTol": _TOLERANCE,
            "OptimalityTol": _TOLERANCE,
        }

    def evidence(
        self, problem: Any, command: Any, variables: list[Any], mip: bool, log: str, options: SolveOptions
    ) -> Evidence:
        """From the model's attributes."""
        model = problem.solverModel
        known = {2: SolverStatus.OPTIMAL, 3: SolverStatus.INFEASIBLE, 5: SolverStatus.UNBOUNDED}
        if int(model.Status) == 4:
            return Evidence(SolverStatus.LIMIT, either=True)
        status = known.get(int(model.Status), SolverStatus.LIMIT)
        values = [v.solverVar.X for v in variables] if model.SolCount > 0 else None
        dual = _finite(model.ObjBound) if mip else -math.inf
        return Evidence(status, values, dual, int(model.NodeCount) if mip else None, int(model.IterCount))

    def quadratic(self, problem: Any, options: SolveOptions, seconds: float) -> None:
        """Through CVXPY."""
        problem.solve(solver="GUROBI", TimeLimit=seconds, MIPGap=options.relative_gap, **self._own(options))


class Cplex(Package):
    """CPLEX; its package is an edition for small programs."""

    name = "cplex"
    through = "PuLP and CVXPY, package cplex"
    install = "pip install cplex"
    command, package = "CPLEX_PY", "cplex"

    def parameters(self, options: SolveOptions, seconds: float, mip: bool, log: Path) -> dict[str, Any]:
        """CPLEX's own, by their names."""
        return {
            "timeLimit": seconds,
            "gapRel": options.relative_gap,
            "threads": options.threads,
            "mip.tolerances.absmipgap": options.absolute_gap,
            "mip.tolerances.integrality": _TOLERANCE,
            "simplex.tolerances.feasibility": _TOLERANCE,
            "randomseed": options.seed,
            "preprocessing.presolve": int(options.presolve),
        }

    def evidence(
        self, problem: Any, command: Any, variables: list[Any], mip: bool, log: str, options: SolveOptions
    ) -> Evidence:
        """From the solution's status code: 1xx of MIPs, the others of LPs."""
        solution = problem.solverModel.solution
        code = solution.get_status()
        if code in (4, 119):
            return Evidence(SolverStatus.LIMIT, either=True)
        known = {
            **dict.fromkeys((1, 101, 102), SolverStatus.OPTIMAL),
            **dict.fromkeys((3, 103), SolverStatus.INFEASIBLE),
            **dict.fromkeys((2, 118), SolverStatus.UNBOUNDED),
        }
        values = solution.get_values([v.name for v in variables]) if solution.is_primal_feasible() else None
        tree = code > 100
        dual = _finite(solution.MIP.get_best_objective()) if tree and code not in (103, 118) else -math.inf
        nodes = int(solution.progress.get_num_nodes_processed()) if tree else None
        return Evidence(
            known.get(code, SolverStatus.LIMIT), values, dual, nodes, int(solution.progress.get_num_iterations())
        )

    def quadratic(self, problem: Any, options: SolveOptions, seconds: float) -> None:
        """Through CVXPY."""
        own = self.parameters(options, seconds, True, Path())
        own = {name: value for name, value in own.items() if name not in ("timeLimit", "gapRel")}
        problem.solve(
            solver="CPLEX", cplex_params={**own, "timelimit": seconds, "mip.tolerances.mipgap": options.relative_gap}
        )


class Xpress(Package):
    """FICO Xpress; its package brings a licence for small programs."""

    name = "xpress"
    through = "PuLP and CVXPY, package xpress"
    install = "pip install xpress"
    command, package = "XPRESS_PY", "xpress"

    def parameters(self, options: SolveOptions, seconds: float, mip: bool, log: Path) -> dict[str, Any]:
        """Xpress's controls, by their names; the one that PuLP sets for the time limit is one that Xpress has given up."""
        own = {**self._own(options), "timelimit": math.ceil(seconds)}
        return {"gapRel": options.relative_gap, "options": list(own.items())}

    def _own(self, options: SolveOptions) -> dict[str, Any]:
        return {
            "mipabsstop": options.absolute_gap,
            "mipaddcutoff": -options.absolute_gap,  # by which a point has to be better; its bound is lower by as much
            "threads": options.threads,
            "randomseed": options.seed,
            "presolve": int(options.presolve),
            "feastol": _TOLERANCE,
            "miptol": _TOLERANCE,
        }

    def evidence(
        self, problem: Any, command: Any, variables: list[Any], mip: bool, log: str, options: SolveOptions
    ) -> Evidence:
        """From the problem's attributes; a MIP whose relaxation is infeasible says so as an LP."""
        read = problem.solverModel.getAttrib
        linear = {1: SolverStatus.OPTIMAL, 2: SolverStatus.INFEASIBLE, 5: SolverStatus.UNBOUNDED}
        if not mip:
            status = linear.get(int(read("lpstatus")), SolverStatus.LIMIT)
            values = values_of(variables) if status is SolverStatus.OPTIMAL else None
            return Evidence(status, values, iterations=int(read("simplexiter")))
        code = int(read("mipstatus"))
        known = {6: SolverStatus.OPTIMAL, 5: SolverStatus.INFEASIBLE, 7: SolverStatus.UNBOUNDED}
        status = known.get(code, SolverStatus.LIMIT)
        if code == 1 and int(read("lpstatus")) == 2:
            status = SolverStatus.INFEASIBLE
        values = values_of(variables) if int(read("mipsols")) > 0 else None
        return Evidence(status, values, _finite(read("bestbound")), int(read("nodes")), int(read("simplexiter")))

    def quadratic(self, problem: Any, options: SolveOptions, seconds: float) -> None:
        """Through CVXPY."""
        own = {**self._own(options), "miprelstop": options.relative_gap, "timelimit": math.ceil(seconds)}
        problem.solve(solver="XPRESS", **own)


class Copt(Package):
    """COPT, the Cardinal Optimizer; its package solves small programs without a licence."""

    name = "copt"
    through = "PuLP and CVXPY, package coptpy"
    install = "pip install coptpy"
    command, package = "COPT", "coptpy"

    def parameters(self, options: SolveOptions, seconds: float, mip: bool, log: Path) -> dict[str, Any]:
        """COPT's own; it has no seed."""
        return {"timeLimit": seconds, "gapRel": options.relative_gap, **self._own(options)}

    def _own(self, options: SolveOptions) -> dict[str, Any]:
        return {
            "AbsGap": options.absolute_gap,
            "Threads": options.threads,
            "Presolve": -1 if options.presolve else 0,
            "FeasTol": _TOLERANCE,
            "IntTol": _TOLERANCE,
        }

    def evidence(
        self, problem: Any, command: Any, variables: list[Any], mip: bool, log: str, options: SolveOptions
    ) -> Evidence:
        """From the model's attributes; PuLP reads no point of a solve that was stopped."""
        model = problem.solverModel
        known = {1: SolverStatus.OPTIMAL, 2: SolverStatus.INFEASIBLE, 3: SolverStatus.UNBOUNDED}
        if int(model.status) == 4:
            return Evidence(SolverStatus.LIMIT, either=True)
        status = known.get(int(model.status), SolverStatus.LIMIT)
        there = bool(model.hasmipsol) if mip else bool(model.haslpsol) and status is SolverStatus.OPTIMAL
        values = [v.solverVar.x for v in variables] if there else None
        dual = _finite(model.bestbnd) if mip else -math.inf
        return Evidence(status, values, dual, int(model.nodecnt) if mip else None, int(model.simplexiter))

    def quadratic(self, problem: Any, options: SolveOptions, seconds: float) -> None:
        """Through CVXPY."""
        problem.solve(solver="COPT", TimeLimit=seconds, RelGap=options.relative_gap, **self._own(options))


class Mosek(Package):
    """Mosek, which needs a licence file."""

    name = "mosek"
    features = Package.features - {"start", "nodes"}
    through = "PuLP and CVXPY, package mosek"
    install = "pip install mosek (and a licence file)"
    command, package = "MOSEK", "mosek"

    def parameters(self, options: SolveOptions, seconds: float, mip: bool, log: Path) -> dict[str, Any]:
        """Mosek's own, by their names."""
        return {"timeLimit": seconds, "options": self._own(options)}

    def _own(self, options: SolveOptions) -> dict[str, Any]:
        return {
            "MSK_DPAR_MIO_TOL_REL_GAP": options.relative_gap,
            "MSK_DPAR_MIO_TOL_ABS_GAP": options.absolute_gap,
            "MSK_DPAR_MIO_TOL_ABS_RELAX_INT": _TOLERANCE,
            "MSK_IPAR_NUM_THREADS": options.threads,
            "MSK_IPAR_MIO_SEED": options.seed,
            "MSK_IPAR_PRESOLVE_USE": 2 if options.presolve else 0,
        }

    def evidence(
        self, problem: Any, command: Any, variables: list[Any], mip: bool, log: str, options: SolveOptions
    ) -> Evidence:
        """From the status of the problem and of the solution."""
        import mosek

        task, kind = command.task, command.solution_type
        optimal = (mosek.solsta.optimal, mosek.solsta.integer_optimal)
        solved, about = task.getsolsta(kind), task.getprosta(kind)
        values = values_of(variables) if solved in (*optimal, mosek.solsta.prim_feas) else None
        dual = _finite(task.getdouinf(mosek.dinfitem.mio_obj_bound)) if mip else -math.inf
        if solved in optimal:
            return Evidence(SolverStatus.OPTIMAL, values, dual)
        if about == mosek.prosta.prim_infeas:
            return Evidence(SolverStatus.INFEASIBLE)
        if about == mosek.prosta.dual_infeas and not mip:
            return Evidence(SolverStatus.UNBOUNDED)
        return Evidence(SolverStatus.LIMIT, values, dual)

    def quadratic(self, problem: Any, options: SolveOptions, seconds: float) -> None:
        """Through CVXPY."""
        limits = {"MSK_DPAR_OPTIMIZER_MAX_TIME": seconds, "MSK_DPAR_MIO_MAX_TIME": seconds}
        problem.solve(solver="MOSEK", mosek_params={**self._own(options), **limits})


def _finite(value: float) -> float:
    return float(value) if abs(value) < _INFINITE else -math.inf
