"""Back ends that solve a `MixedIntegerProgram`: one file each, one line in `SOLVERS`.

HiGHS is the default, Clarabel solves its convex QPs, SCIP has the most features; PuLP and CVXPY reach all others. What
`get_solver` gives stands behind a guard (`guarded`), so that no crash or nonsense of a solver is more than its own failure.
"""

from __future__ import annotations

from importlib import import_module

from ..encoding import MixedIntegerProgram
from ..errors import no_such
from .protocol import FEATURES, Progress, SolveOptions, Solver, SolveResult, SolverStatus

SOLVERS = {
    "highs": "highs:Highs",
    "scip": "scip:Scip",
    "cbc": "programs:Cbc",
    "glpk": "programs:Glpk",
    "gurobi": "packages:Gurobi",
    "cplex": "packages:Cplex",
    "xpress": "packages:Xpress",
    "copt": "packages:Copt",
    "mosek": "packages:Mosek",
}

__all__ = [
    "FEATURES",
    "SOLVERS",
    "Progress",
    "SolveOptions",
    "SolveResult",
    "Solver",
    "SolverStatus",
    "adapter",
    "convex_solver",
    "get_solver",
]


def get_solver(name: str) -> Solver:
    """The solver called `name`, behind its guard.

    Raises:
        InvalidInput: there is no such solver.
        SolverUnavailable: it is not installed.
    """
    from .guarded import Guarded

    solver = adapter(name)
    solver.version()  # raises where it is not installed
    return Guarded(solver)


def adapter(name: str) -> Solver:
    """What reaches the solver called `name`, whether it is installed or not, and without a guard.

    Raises:
        InvalidInput: there is no such solver.
    """
    if name not in SOLVERS:
        raise no_such("solver", name, SOLVERS)
    module, attribute = SOLVERS[name].split(":")
    solver: Solver = getattr(import_module(f".{module}", __package__), attribute)()
    return solver


def convex_solver(program: MixedIntegerProgram) -> Solver:
    """The solver that suits a program: interior points for what is not linear and has no integers, HiGHS for all others."""
    if (program.hessian is None and program.ball is None) or program.binaries:
        from .highs import Highs

        return Highs()
    from .clarabel import Clarabel

    return Clarabel()
