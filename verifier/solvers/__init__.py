"""Back ends that solve a `MixedIntegerProgram`: one file each, one line in `SOLVERS`.

HiGHS is the default, Clarabel solves its convex QPs; PuLP reaches other MILP solvers and writes files; CVXPY is the
independent reference.
"""

from __future__ import annotations

from importlib import import_module

from ..encoding import MixedIntegerProgram
from ..errors import SolverUnavailable
from .protocol import Progress, SolveOptions, Solver, SolveResult, SolverStatus

SOLVERS = {
    "highs": "highs:Highs",
    "scip": "cvxpy:Scip",
    "cbc": "pulp:Cbc",
}

__all__ = [
    "SOLVERS",
    "Progress",
    "SolveOptions",
    "SolveResult",
    "Solver",
    "SolverStatus",
    "convex_solver",
    "get_solver",
]


def get_solver(name: str) -> Solver:
    """The solver called `name`.

    Raises:
        SolverUnavailable: there is no such solver, or it is not installed.
    """
    if name not in SOLVERS:
        raise SolverUnavailable(f"unknown solver '{name}': choose {', '.join(SOLVERS)}")
    module, attribute = SOLVERS[name].split(":")
    solver: Solver = getattr(import_module(f".{module}", __package__), attribute)()
    return solver


def convex_solver(program: MixedIntegerProgram) -> Solver:
    """The solver that suits a program: interior points for QPs without integers, HiGHS for all others."""
    if program.hessian is None or program.binaries:
        from .highs import Highs

        return Highs()
    from .clarabel import Clarabel

    return Clarabel()
