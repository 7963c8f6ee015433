"""A target of the MILP engine: subproblems that share a program, and everything that happens to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from ...bounds import Bounds
from ...encoding import Formulation, MixedIntegerProgram, encode, fitted
from ...encoding.ball import ROUNDING
from ...mip_record import RELAXATION, SETTLED, SOLVE, MipRecord, changes
from ...norms import UnitBall
from ...query import Objective
from ...solvers import SolveOptions, SolveResult, SolverStatus, convex_solver
from ...specification import Region
from ...tightening import tighten
from ..polish import cell_program, deepen, polish
from ..state import ABOVE_ZERO, SearchState, Subproblem

# Violations beside that of a tie, which is no adversarial example: it neither ends a search nor counts as excluded.
BELOW_TIES = -ABOVE_ZERO
_NAMED = 3  # unsafe sets at most that are named where some of a disjunct share a program


class Target:
    """One subproblem, or all of a disjunct, over the ball that is still of interest.

    Attributes:
        subproblems: of one disjunct.
        region: that is searched.
        bounds: of the network on it, for inputs of interest.
        program: the latest form of it; encoded when it is asked for.
        root: lower bounds by step, as in `MipRecord`.
        stopped: whether a solver ended without an optimum, so that there may be more to prove.
    """

    def __init__(self, state: SearchState, subproblems: list[Subproblem]) -> None:
        """Take the subproblems over the present search region."""
        self.state, self.subproblems = state, subproblems
        self.unsafe = tuple(subproblem.polytope for subproblem in subproblems)
        options = state.settings.milp
        self.form = Formulation(options.formulation, options.fix_stable, options.substitute)
        self.root: dict[str, float] = {}
        self.stopped = False
        self._open()

    def _open(self) -> None:
        state = self.state
        self.region: Region = state.search_region(self.subproblems[0].region)
        self.bounds: Bounds = state.bounds(self.region)
        self._whole = self.bounds
        self._program: MixedIntegerProgram | None = None

    @property
    def program(self) -> MixedIntegerProgram:
        """For the query's objective, unless it was set to another; verdicts in norm 2 ask for the least squared distance."""
        if self._program is None:
            objective = self.state.query.objective
            self._program = self.encode(Objective.MIN_DISTORTION if self.squared else objective)
        return self._program

    @program.setter
    def program(self, program: MixedIntegerProgram) -> None:
        self._program = program

    def forget(self) -> None:
        """Free the program: targets that wait need not hold theirs."""
        self._program = None

    @property
    def euclidean(self) -> bool:
        """Whether the region is a ball of norm 2."""
        ball = self.region.ball
        return ball is not None and ball.norm.unit_ball is UnitBall.EUCLIDEAN

    @property
    def squared(self) -> bool:
        """Whether the program's objective is a squared distance: in norm 2 that of distances and of verdicts."""
        return self.euclidean and self.state.query.objective is not Objective.MAX_MARGIN

    @property
    def aim(self) -> float:
        """The program's objective from which on nothing of the target is left; infinite where it has no such value."""
        if self.squared:
            assert self.region.ball is not None
            radius = self.region.ball.radius
            goal = min(self.state.goal, radius) if self.state.is_min_distortion else radius
            return float(np.nextafter(goal * goal * (1 + ROUNDING), math.inf))
        return math.inf if self.state.query.objective is Objective.FEASIBILITY else self.state.goal

    def value(self, objective: float) -> float:
        """What a lower bound on the program's objective says of the query's values; no distance is below 0."""
        if self.squared:
            return root_of(objective) * (1 - ROUNDING)
        return self._from_zero(objective)

    def _from_zero(self, bound: float) -> float:
        """A bound on values; of distances 0 where it is a little lower."""
        return max(bound, 0.0) if self.state.is_min_distortion and math.isfinite(bound) else bound

    @property
    def counts(self) -> bool:
        """Whether the values that are minimised are whole: distances in norm 0 are, margins in norm 0 are not."""
        return self.state.is_min_distortion and self.state.is_l0

    @property
    def open(self) -> bool:
        """Whether some subproblem still needs work."""
        return any(self.state.is_open(subproblem) for subproblem in self.subproblems)

    @property
    def lower(self) -> float:
        """The least value proved of the subproblems."""
        return min(subproblem.lower for subproblem in self.subproblems)

    @property
    def words(self) -> str:
        """Which unsafe sets it is about; of many together how many they are."""
        every = self.subproblems[0].disjunct.unsafe
        named = [
            polytope.label or f"unsafe set {next((k for k, other in enumerate(every) if other is polytope), 0)}"
            for polytope in self.unsafe
        ]
        if len(named) == 1:
            return named[0]
        if len(named) <= _NAMED and len(named) < len(every):
            return f"{', '.join(named)}, joint"
        kind = "classes" if all(name.startswith("class ") for name in named) else "unsafe sets"
        count = f"all {len(every)}" if len(named) == len(every) else f"{len(named)} of {len(every)}"
        return f"{count} {kind}, joint"

    def encode(self, objective: Objective) -> MixedIntegerProgram:
        """The program for an objective over the region; a ball of norm 2 is its quadratic row."""
        whole = None if self.bounds is self._whole else self._whole
        network, region = self.state.network, self.region
        return encode(network, self.bounds, region, self.unsafe, objective, self.form, whole=whole, quadratic=True)

    def refresh(self) -> bool:
        """Begin anew where a witness has made the search region smaller; whether it has."""
        now = self.state.search_region(self.subproblems[0].region)
        if now.ball is None or self.region.ball is None or now.ball.radius >= self.region.ball.radius:
            return False
        self._open()
        return True

    def tighten(self, seconds: float) -> None:
        """Bounds for what is still of interest, by solves where the settings ask for them."""
        state = self.state
        if state.settings.milp.tighten == "none":
            return
        depth = state.upper if state.query.objective is Objective.MAX_MARGIN else 0.0
        self.bounds = tighten(
            state.network, self.bounds, self.region, self.unsafe, seconds, state.settings.milp.tighten, depth
        )
        self._program = None

    def options(self, seconds: float) -> SolveOptions:
        """Limits of one solve."""
        settings = self.state.settings
        return SolveOptions(
            time_limit=max(seconds, 0.01),
            relative_gap=settings.gap / 10,
            absolute_gap=0.999 if self.counts else 1e-9,
            threads=settings.threads,
            seed=settings.seed,
        )

    # -- what comes of it --------------------------------------------------------------------------------------------

    def prove(self, value: float, name: str) -> None:
        """Raise the subproblems: no input of interest has a lower value; margins above the upper side are of no interest."""
        if self.state.query.objective is Objective.MAX_MARGIN:
            value = min(value, self.state.upper)
        if self.state.is_min_distortion:  # nothing is searched beyond the region
            value = min(value, self.reach)
        for subproblem in self.subproblems:
            self.state.raise_lower_bound(subproblem, value, name)

    @property
    def reach(self) -> float:
        """The distance up to which the region holds every input of interest; what it excludes is excluded up to there."""
        ball = self.region.ball
        if ball is None or math.isinf(ball.radius):
            return math.inf
        return math.floor(ball.radius + 1e-9) + 1 if self.state.is_l0 else ball.radius

    @property
    def excluded(self) -> float:
        """The value that is proved where the region holds no input of interest."""
        if self.state.is_min_distortion:
            return min(self.reach, self.state.goal)
        if self.state.query.objective is Objective.MAX_MARGIN and math.isfinite(self.state.upper):
            return self.state.upper
        return ABOVE_ZERO

    def exclude(self, name: str) -> None:
        """The region holds no input of interest."""
        self.prove(self.excluded, name)

    def visitor(self, program: MixedIntegerProgram, name: str) -> Callable[[np.ndarray], None]:
        """Offers the inputs of points of a program."""
        inputs = program.columns.inputs

        def visit(point: np.ndarray) -> None:
            self.state.add_counterexample(point[inputs], name)

        return visit

    def offer(self, x: np.ndarray, name: str) -> None:
        """Inputs (n,) of a solver's point, or what is near them and holds in the executor's arithmetic."""
        state = self.state
        moved = state.add_counterexample(x, name)
        for subproblem in self.subproblems:
            if state.query.objective is Objective.FEASIBILITY and state.witness is None:
                deepen(state, x, subproblem, name)
            elif state.is_min_distortion and not moved:
                polish(state, x, subproblem, name)

    def record(
        self,
        program: MixedIntegerProgram,
        solver: str,
        began: float,
        result: SolveResult,
        proved: float = -math.inf,
        role: str = SOLVE,
        cutoff: float = math.inf,
        status: str = "",
    ) -> int:
        """Write down a solve of a program; values are the query's, and no bound says more than what the region can show.

        Args:
            program: as it was solved.
            solver: its name.
            began: in `state.elapsed`.
            result: what came out.
            proved: how much of it was proved; what was known of the target before counts as well.
            role: see `MipRecord`.
            cutoff: likewise; infinite where none was given.
            status: likewise; the result's where empty.

        Returns:
            The record's number.
        """
        most = self.reach if self.state.is_min_distortion else self.state.upper
        formulation = str(fitted(self.form, self.state.network, self.bounds))
        own = {} if result.root_bound is None else {"solver": self._from_zero(result.root_bound)}
        self.state.mips.append(
            MipRecord(
                self.words,
                formulation,
                solver,
                result.version,
                rows=program.matrix.shape[0],
                columns=program.matrix.shape[1],
                binaries=program.binaries,
                nonzeros=program.matrix.nnz,
                largest_m=_largest_m(program),
                began=began,
                seconds=result.seconds,
                status=status or result.status.value,
                role=role,
                cutoff=cutoff if math.isfinite(cutoff) else None,
                primal=result.objective,
                dual=self._from_zero(min(result.dual_bound, most)),
                proved=min(max([proved, self.lower, *self.root.values()]), most),
                nodes=result.nodes,
                iterations=result.iterations,
                root={**self.root, **own},
                trace=changes(
                    (seconds, primal, self._from_zero(min(dual, most))) for seconds, primal, dual in result.trace
                ),
                note=result.note,
            )
        )
        return len(self.state.mips) - 1

    def settled(self, began: float, value: float) -> None:
        """Write down that the LP relaxation of the program proved all that is of interest."""
        seconds = self.state.elapsed - began
        solver = convex_solver(self.program.relaxed())
        result = SolveResult(SolverStatus.OPTIMAL, None, math.inf, value, seconds, version=solver.version())
        self.record(self.program, solver.name, began, result, value, RELAXATION, status=SETTLED)

    def confirmed(self, index: int, value: float) -> None:
        """Write into a record how much of what its solver claimed was confirmed."""
        record = self.state.mips[index]
        self.state.mips[index] = replace(record, proved=max(record.proved, value))


def root_of(squared: float) -> float:
    """A distance from its square, which rounding may have made negative."""
    return math.sqrt(max(squared, 0.0)) if squared > -math.inf else -math.inf


def trusted(state: SearchState) -> bool:
    """Whether programs of the network's weights are solved in floating point; a note says so where they are not."""
    if any("is not trusted" in note for note in state.network.notes):
        note = "the MILP engine is not trusted on weights of this range"
        state.notes += [] if note in state.notes else [note]
        return False
    return True


def start_of(state: SearchState, program: MixedIntegerProgram) -> np.ndarray | None:
    """The best witness as a point of a program, (columns,); None where there is none, or it is no point of this one."""
    if state.witness is None:
        return None
    cell = cell_program(state, program, state.witness)
    inputs = program.columns.inputs
    inside = np.clip(state.witness, program.col_lower[inputs], program.col_upper[inputs])
    # with the inputs fixed nothing is left of what is not linear, and a vertex is as exact as solvers ask of a start
    linear = replace(cell.fixed(inputs, inside), hessian=None, ball=None)
    found = convex_solver(linear).solve(linear, SolveOptions(time_limit=1.0, threads=1))
    return found.point


def _largest_m(program: MixedIntegerProgram) -> float:
    """The largest factor of a binary."""
    entries = abs(sp.csc_matrix(program.matrix)[:, np.flatnonzero(program.integer)])
    return float(entries.max()) if entries.nnz else 0.0
