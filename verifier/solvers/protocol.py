"""What a solver gets and what it may answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from ..encoding import MixedIntegerProgram


class SolverStatus(Enum):
    """The values are what a user reads. A back end that cannot tell two apart returns the weaker word."""

    OPTIMAL = "solved to optimality within tolerance"
    INFEASIBLE = "no feasible point"
    LIMIT_WITH_INCUMBENT = "stopped at a limit with a feasible point"
    LIMIT = "stopped at a limit without a feasible point"
    UNBOUNDED = "unbounded"
    INTERRUPTED = "interrupted"
    ERROR = "the solver failed"


@dataclass(frozen=True)
class Progress:
    """Where a running solver stands: seconds since its start, primal and dual bound, and a new incumbent if any."""

    seconds: float
    primal: float
    dual: float
    incumbent: np.ndarray | None = None


@dataclass(frozen=True)
class SolveOptions:
    """Limits of one solve.

    Attributes:
        time_limit: seconds.
        relative_gap: stop when (primal - dual) / |primal| is at most this.
        absolute_gap: stop when primal - dual is at most this.
        threads: of the solver.
        seed: of the solver.
        presolve: whether to presolve (off for a second opinion).
        start: a known feasible point; solvers that take none pass over it.
        cutoff: only points of a lower objective are of interest; a solver that uses it may answer INFEASIBLE for "none is
            lower". Infinite: none.
        progress: called as incumbents and bounds come; returning True stops the solver.
    """

    time_limit: float = 60.0
    relative_gap: float = 1e-6
    absolute_gap: float = 1e-9
    threads: int = 1
    seed: int = 0
    presolve: bool = True
    start: np.ndarray | None = None
    cutoff: float = math.inf
    progress: Callable[[Progress], bool] | None = None


@dataclass(frozen=True)
class SolveResult:
    """What came out: the best point, its objective, the proved dual bound (-inf if none), and seconds.

    `row_dual` are the rows' multipliers where an LP or QP was solved by a back end that names them (see `safe_dual`); of an
    infeasible one those of a ray. `nodes`,
    `iterations` and `root_bound` are of the solver's tree, None where it does not say; `version` is the solver's own, and
    `trace` what it reported of (seconds, primal, dual) while it ran.
    """

    status: SolverStatus
    point: np.ndarray | None
    objective: float
    dual_bound: float
    seconds: float
    row_dual: np.ndarray | None = None
    nodes: int | None = None
    iterations: int | None = None
    root_bound: float | None = None
    version: str = ""
    trace: tuple[tuple[float, float, float], ...] = ()


class Solver(Protocol):
    """A back end. `features` is a subset of {"lp", "milp", "qp", "miqp"}."""

    name: str
    features: frozenset[str]

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve, or stop at a limit; never raises for what the program is, only for what is not installed."""
