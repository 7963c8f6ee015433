"""What a solver gets and what it may answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, Self

import numpy as np

from ..encoding import MixedIntegerProgram

FEATURES = {
    "lp": "linear programs",
    "milp": "linear programs with integers",
    "qp": "convex quadratic objectives",
    "miqp": "convex quadratic objectives with integers",
    "qcp": "a convex quadratic row",
    "miqcp": "a convex quadratic row with integers",
    "start": "begins at a known point",
    "cutoff": "passes over points that are no better than a value",
    "stream": "tells of bounds and points while it runs, and stops when asked to",
    "nodes": "counts the nodes of its tree",
    "bound": "names a dual bound where it did not finish",
}


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
        presolve: whether to presolve.
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
    infeasible one those of a ray; `ball_dual`, (n,), is the ball's share of them. `nodes`, `iterations` and `root_bound` are
    of the solver's tree, None where it does not say; `version` is the solver's own, and `trace` what it reported of (seconds, primal, dual) while it ran. `note` says what was wrong where the solver failed.
    """

    status: SolverStatus
    point: np.ndarray | None
    objective: float
    dual_bound: float
    seconds: float
    row_dual: np.ndarray | None = None
    ball_dual: np.ndarray | None = None
    nodes: int | None = None
    iterations: int | None = None
    root_bound: float | None = None
    version: str = ""
    trace: tuple[tuple[float, float, float], ...] = ()
    note: str = ""

    @classmethod
    def failed(cls, note: str, seconds: float, version: str = "") -> Self:
        """The result of a solver that failed: nothing but a note."""
        return cls(SolverStatus.ERROR, None, math.inf, -math.inf, seconds, version=version, note=note)


class Solver(Protocol):
    """A back end.

    Attributes:
        name: in `SOLVERS`.
        features: of `FEATURES`.
        through: how it is reached, in words: a Python package or a program.
        install: how to install it, in words.
        isolated: whether it runs in a process of its own, so that its crash costs one solve.
    """

    name: str
    features: frozenset[str]
    through: str
    install: str
    isolated: bool

    def version(self) -> str:
        """The solver's own version, "" where it does not say.

        Raises:
            SolverUnavailable: it is not installed.
        """

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve a program whose kind is among the features, or stop at a limit.

        Raises:
            SolverUnavailable: it is not installed.
        """
