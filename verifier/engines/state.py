"""What engines share: the open (region, polytope) pairs, the bracket, and the only two methods that move it.

A bracket moves when `add_counterexample` accepts a point that the judge has re-run, or when `raise_lower_bound` raises a pair's
lower bound.
Values are violations max(C y - d) for FEASIBILITY and MAX_MARGIN (robust above 0), distances for MIN_DISTORTION.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..bounds import Bounds, InputSet
from ..bounds.branching import SCORES
from ..errors import InvalidInput
from ..network.nodes import Network
from ..outcome import Bracket, TraceEvent
from ..query import Objective, Query
from ..specification import Case, Polytope, Region, Specification, stack_polytopes
from .clock import Clock
from .judgement import Judge, judged
from .region_bounds import RegionBounds

Solves = Literal["none", "lp", "mip"]
ABOVE_ZERO = 1e-12  # violation that is claimed where nothing is known of it but that it is positive


@dataclass(frozen=True)
class Settings:
    """Options of a run that cannot change a verdict, only how soon it comes.

    Attributes:
        timeout: seconds for the query.
        gap: relative gap at which a bracket counts as closed.
        threads: of torch and of solvers; ReLU trees take as many processes instead where they can (Linux).
        seed: of attacks and solvers.
        solver: back end of the MILP engine.
        symmetric: symmetric big-M (ablation).
        fix_stable: leave out binaries of stable ReLUs (ablation when False).
        obbt: bounds from solves before a MILP, "none", "lp" or "mip" (see `tightening`).
        cuts: separate rows of ideal ReLU formulations at the root of a MILP.
        joint: one MILP over all targets instead of one MILP a target.
        branching: score of ReLU splits, one of `bounds.branching.SCORES`.
        fsb_candidates: so many of the ReLUs of highest score are compared by cheap bounds of both parts before a split (De Palma
            et al., "Improved Branch and Bound for Neural Network Verification via Lagrangian Decomposition", 2021).
        beta_steps: ascent steps for each domain of the ReLU tree.
        tightening: bound intermediate neurons harder before the ReLU tree (ablation when False).
        device: where attacks and bound propagation look at a query first; trees, LPs and MILPs stay on the CPU.
        proofs: folder for proofs; none are written without it.
        proof_seconds: limit for finding one, on top of `timeout`; as long as `timeout` where None.
    """

    timeout: float = 60.0
    gap: float = 1e-4
    threads: int = 2
    seed: int = 0
    solver: str = "highs"
    symmetric: bool = False
    fix_stable: bool = True
    obbt: Solves = "lp"
    cuts: bool = True
    joint: bool = False
    branching: str = "auto"
    fsb_candidates: int = 1
    beta_steps: int = 8
    tightening: bool = True
    device: str = "cpu"
    proofs: Path | None = None
    proof_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse names that no table knows.

        Raises:
            InvalidInput: there is no such branching score, or no such kind of solves.
        """
        if self.branching not in SCORES:
            raise InvalidInput(f"unknown branching score '{self.branching}': choose among {', '.join(SCORES)}")
        if self.obbt not in get_args(Solves):
            raise InvalidInput(f"unknown bounds from solves '{self.obbt}': choose among {', '.join(get_args(Solves))}")


@dataclass
class Pair:
    """One region and one polytope of its unsafe set, with the lower bound proved so far.

    `excluded` says that no input of the region is unsafe although the violation may come down to 0, which rows that are
    strict allow.
    """

    case: Case
    polytope: Polytope
    lower: float
    engine: str = ""
    excluded: bool = False

    @property
    def region(self) -> Region:
        """Region of the case."""
        return self.case.region


@dataclass
class SearchState:
    """The state of one query; engines read it and move it through its methods.

    `excluded` is what has to be proved unreachable: the query's specification, or one with larger unsafe sets (`widen`).
    `search_radius` is for distances: an engine that looks at a smaller ball first sets it, and resets it when it is through.
    """

    query: Query
    settings: Settings
    judge: Judge
    clock: Clock
    excluded: Specification
    pairs: list[Pair]
    upper: float = math.inf
    witness: np.ndarray | None = None
    trace: list[TraceEvent] = field(default_factory=list)
    statistics: dict[str, float | int | str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    listener: Callable[[TraceEvent], None] | None = None
    search_radius: float = math.inf

    @classmethod
    def open(cls, query: Query, settings: Settings, judge: Judge) -> SearchState:
        """All pairs open, nothing known."""
        state = cls(query, settings, judge, Clock(), query.specification, [])
        state.exclude(query.specification)
        return state

    def exclude(self, specification: Specification) -> None:
        """Set what has to be proved unreachable; nothing is proved yet. Witnesses stay those of the query."""
        lowest = 0.0 if self.is_min_distortion else -math.inf
        self.excluded = specification
        self.pairs = [Pair(case, polytope, lowest) for case in specification.cases for polytope in case.unsafe]

    # -- where the search stands -------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """The network of the query."""
        return self.query.network

    @property
    def is_min_distortion(self) -> bool:
        """Whether values are distances."""
        return self.query.objective is Objective.MIN_DISTORTION

    @property
    def elapsed(self) -> float:
        """Seconds since the start, of joint work its share."""
        return self.clock.elapsed

    @property
    def time_left(self) -> float:
        """Seconds until the time limit."""
        return max(self.settings.timeout - self.elapsed, 0.0)

    @property
    def lower(self) -> float:
        """Proved lower bound of the query."""
        return min((pair.lower for pair in self.pairs), default=math.inf)

    @property
    def goal(self) -> float:
        """The value beyond which a pair needs no more proof."""
        if self.is_min_distortion:
            if self.is_l0:  # as many changes as the limit allows are of interest, too
                return min(self.upper, self.limit + 1)
            return min(self.upper * (1 - 0.95 * self.settings.gap), self.limit, self.search_radius)
        if self.query.objective is Objective.FEASIBILITY:
            return 0.0
        if math.isinf(self.upper):
            return math.inf
        return self.upper - self.settings.gap * max(abs(self.upper), 1e-6)

    @property
    def limit(self) -> float:
        """Radius of the region: no distance beyond it is of interest."""
        ball = self.query.specification.cases[0].region.ball
        if ball is None or math.isinf(ball.radius):
            return math.inf
        return math.floor(ball.radius + 1e-9) if self.is_l0 else ball.radius

    @property
    def is_l0(self) -> bool:
        """Whether distances are counts (norm 0)."""
        return self.query.specification.cases[0].region.is_l0

    def is_open(self, pair: Pair) -> bool:
        """Whether a pair still needs work."""
        if self.query.objective is Objective.FEASIBILITY:
            return pair.lower <= 0.0 and not pair.excluded
        return pair.lower < self.goal

    @property
    def open_pairs(self) -> list[Pair]:
        """Pairs that still need work."""
        return [pair for pair in self.pairs if self.is_open(pair)]

    @property
    def done(self) -> bool:
        """Whether the query is settled."""
        if self.query.objective is Objective.FEASIBILITY and self.witness is not None:
            return True
        return not self.open_pairs

    @property
    def bracket(self) -> Bracket:
        """Both sides and the witness."""
        return Bracket(min(self.lower, self.upper), self.upper, self.witness)

    # -- what moves the bracket --------------------------------------------------------------------------------------

    def raise_lower_bound(self, pair: Pair, value: float, engine: str) -> None:
        """Raise a pair's lower bound to a proved value; lower values change nothing.

        An infinite distance is a claim about every input of the valid range: it takes an engine that has excluded all of
        them, which is possible only where neither a witness nor a limit has made the search smaller.

        Raises:
            FloatingPointError: the value is no number, so that nothing was proved and something is broken.
        """
        if math.isnan(value):
            raise FloatingPointError(f"{engine} came to a bound that is no number")
        if self.is_min_distortion and math.isinf(value):
            if not math.isinf(self.goal):
                raise FloatingPointError(f"{engine} claims more than the search region can show")
            self.statistics["excluded"] = "the whole valid range"
        if value > pair.lower:
            before = self.lower
            pair.lower, pair.engine = float(value), engine
            if self.lower > before:
                self._record(engine)

    def exclude_exactly(self, pair: Pair, engine: str) -> None:
        """No input of the pair's search region is unsafe, which was decided without rounding."""
        if self.is_min_distortion:
            self.raise_lower_bound(pair, self.goal, engine)
            return
        pair.excluded = True
        if pair.lower < 0.0:
            self.raise_lower_bound(pair, 0.0, engine)

    def add_counterexample(self, points: np.ndarray, engine: str, case: Case | None = None) -> bool:
        """Judge candidate points (k, n) or (n,) of a case, or of whatever case they lie in; whether the upper side moved.

        A point is cast to the judge's precision without leaving its region, executed by the judge, and counts only as
        what it is then.
        """
        moved = False
        for point in np.atleast_2d(points):
            for each in self._cases_of(point) if case is None else (self._asked(case),):
                moved |= self._judge_one(point, each, engine)
                if self.query.objective is Objective.FEASIBILITY and self.witness is not None:
                    return moved
        return moved

    def _cases_of(self, point: np.ndarray) -> Sequence[Case]:
        """The only case, or of several those that a point lies in, or almost."""
        cases = self.query.specification.cases
        if len(cases) == 1:
            return cases
        return [case for case in cases if _near(point, case.region)]

    def _asked(self, case: Case) -> Case:
        """The query's own case where `case` is the one that is to be excluded instead, with larger unsafe sets."""
        if self.excluded is self.query.specification:
            return case
        position = next((k for k, other in enumerate(self.excluded.cases) if other is case), None)
        return case if position is None else self.query.specification.cases[position]

    def _judge_one(self, point: np.ndarray, case: Case, engine: str) -> bool:
        """A point that the judge calls unsafe is a witness; others only move the upper side of margins."""
        found = judged(point, case, self.judge)
        if found is None or (self.is_min_distortion and not found.unsafe):
            return False
        value = case.region.distance(found.point) if self.is_min_distortion else found.violation
        if value >= self.upper and not (found.unsafe and self.witness is None):
            return False
        self.upper = min(value, self.upper)
        if found.unsafe:
            self.witness = found.point
        self._record(engine)
        return True

    def _record(self, engine: str) -> None:
        event = TraceEvent(self.elapsed, min(self.lower, self.upper), self.upper, engine)
        self.trace.append(event)
        if self.listener is not None:
            self.listener(event)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a statistic."""
        self.statistics[name] = int(self.statistics.get(name, 0)) + amount

    # -- shared work -------------------------------------------------------------------------------------------------

    def search_region(self, region: Region) -> Region:
        """The part of a region that is still of interest: for distances the ball of the best witness."""
        if not self.is_min_distortion:
            return region
        radius = self.goal - 1 if self.is_l0 else self.goal
        return self.query.specification.with_radius(max(radius, 0.0)).region

    def rows(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """What is unsafe at or below 0: rows (pairs, most rows, outputs) of the output plus offsets (pairs, most rows)."""
        matrix, offset = stack_polytopes([pair.polytope for pair in pairs])
        dtype, device = self.network.dtype, self.network.device
        return torch.from_numpy(matrix).to(device, dtype), torch.from_numpy(offset).to(device, dtype)

    def inputs(self, regions: Sequence[Region]) -> InputSet:
        """A batch of regions on the network's device."""
        return InputSet.from_regions(regions, self.network.dtype, self.network.device)

    @cached_property
    def region_bounds(self) -> RegionBounds:
        """Bounds of the query's network, shared by all engines."""
        return RegionBounds(self.network)

    def bounds(self, region: Region) -> Bounds:
        """The best bounds known on a region."""
        return self.region_bounds.of(region)


class Engine(Protocol):
    """One way to move the bracket.

    Attributes:
        name: as in `ENGINES`.
        fraction: of the time left, at most, while other engines wait behind it.
    """

    name: str
    fraction: float

    def run(self, state: SearchState, deadline: float) -> None:
        """Work until the state is done or `state.elapsed` reaches the deadline."""


@runtime_checkable
class Resumable(Engine, Protocol):
    """An engine that can tell from its progress whether more time would settle the query, and go on where it stopped."""

    @property
    def under_way(self) -> bool:
        """Whether there is something to go on with."""

    def arrives(self, state: SearchState) -> bool:
        """Whether everything open is likely to be settled within the time limit."""

    def resume(self, state: SearchState, deadline: float) -> None:
        """Like `run`, after it."""


@runtime_checkable
class Batched(Engine, Protocol):
    """An engine that works on several queries about one network in one batch.

    Attributes:
        repeats: whether it can do more for a query alone than it did in the batch.
    """

    repeats: bool

    def run_all(self, states: Sequence[SearchState], deadline: float) -> None:
        """Like `run` for each of the states."""


def _near(point: np.ndarray, region: Region) -> bool:
    """Whether a point lies in a region's bounding box, or no farther outside than rounding puts it."""
    lower, upper = region.bounding_box()
    slack = 1e-6 * (1 + np.maximum(np.abs(lower), np.abs(upper)))
    return bool((point >= lower - slack).all() and (point <= upper + slack).all())
