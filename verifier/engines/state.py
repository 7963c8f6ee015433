"""What engines share: the open (region, polytope) subproblems, the bracket, and the only two methods that move it.

A bracket moves when `add_counterexample` accepts a point that the executor has re-run, or when `raise_lower_bound` raises a
subproblem's lower bound.
Values are violations max(C y - d) for FEASIBILITY and MAX_MARGIN (robust above 0), distances for MIN_DISTORTION.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..bounds import Bounds, InputSet
from ..mip_record import MipRecord
from ..network.nodes import Network
from ..outcome import ENGINES_RUN, Bracket, TraceEvent
from ..query import Objective, Query
from ..specification import Disjunct, Polytope, Region, Specification, stack_polytopes
from .clock import Clock
from .executor import Executor, execute
from .real_margin import violation_above
from .region_bounds import RegionBounds
from .settings import Settings

_EXECUTED = 1e-3  # by which the margin of an execution may be off, relative to it, so that a point is looked at again

# Violation that is claimed where nothing is known of it but that it is positive: what is claimed may be no more than the truth.
ABOVE_ZERO = float(np.nextafter(0.0, math.inf))


@dataclass
class Subproblem:
    """One region and one polytope of its unsafe set, with the lower bound proved so far.

    `excluded` says that no input of the region is unsafe although the violation may come down to 0, which rows that are
    strict allow. `lowest` is the input (n,) where the last linear bound of the violation is lowest: attacks begin there.
    """

    disjunct: Disjunct
    polytope: Polytope
    lower: float
    engine: str = ""
    excluded: bool = False
    lowest: np.ndarray | None = None

    @property
    def region(self) -> Region:
        """Region of the disjunct."""
        return self.disjunct.region


@dataclass
class SearchState:
    """The state of one query; engines read it and move it through its methods.

    `excluded` is what has to be proved unreachable: the query's specification, or one with larger unsafe sets (`widen`).
    `search_radius` is for distances: an engine that looks at a smaller ball first sets it, and resets it when it is through.
    """

    query: Query
    settings: Settings
    executor: Executor
    clock: Clock
    excluded: Specification
    subproblems: list[Subproblem]
    upper: float = math.inf
    witness: np.ndarray | None = None
    trace: list[TraceEvent] = field(default_factory=list)
    statistics: dict[str, float | int | str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    mips: list[MipRecord] = field(default_factory=list)
    listener: Callable[[TraceEvent], None] | None = None
    search_radius: float = math.inf

    @classmethod
    def open(cls, query: Query, settings: Settings, executor: Executor) -> SearchState:
        """All subproblems open, nothing known."""
        state = cls(query, settings, executor, Clock(), query.specification, [])
        state.exclude(query.specification)
        return state

    def exclude(self, specification: Specification) -> None:
        """Set what has to be proved unreachable; nothing is proved yet. Witnesses stay those of the query."""
        lowest = 0.0 if self.is_min_distortion else -math.inf
        self.excluded = specification
        self.subproblems = [
            Subproblem(disjunct, polytope, lowest)
            for disjunct in specification.disjuncts
            for polytope in disjunct.unsafe
        ]

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
        """Seconds since the start; of work on a batch its fraction."""
        return self.clock.elapsed

    @property
    def time_left(self) -> float:
        """Seconds until the time limit."""
        return max(self.settings.timeout - self.elapsed, 0.0)

    @property
    def lower(self) -> float:
        """Proved lower bound of the query."""
        return min((subproblem.lower for subproblem in self.subproblems), default=math.inf)

    @property
    def goal(self) -> float:
        """The value beyond which a subproblem needs no more proof."""
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
        ball = self.query.specification.disjuncts[0].region.ball
        if ball is None or math.isinf(ball.radius):
            return math.inf
        return math.floor(ball.radius + 1e-9) if self.is_l0 else ball.radius

    @property
    def is_l0(self) -> bool:
        """Whether distances are counts (norm 0)."""
        return self.query.specification.disjuncts[0].region.is_l0

    def is_open(self, subproblem: Subproblem) -> bool:
        """Whether a subproblem still needs work."""
        if self.query.objective is Objective.FEASIBILITY:
            return subproblem.lower <= 0.0 and not subproblem.excluded
        return subproblem.lower < self.goal

    @property
    def open_subproblems(self) -> list[Subproblem]:
        """Subproblems that still need work."""
        return [subproblem for subproblem in self.subproblems if self.is_open(subproblem)]

    @property
    def done(self) -> bool:
        """Whether the query is settled."""
        if self.query.objective is Objective.FEASIBILITY and self.witness is not None:
            return True
        return not self.open_subproblems

    @property
    def bracket(self) -> Bracket:
        """Both sides and the witness."""
        return Bracket(min(self.lower, self.upper), self.upper, self.witness)

    # -- what moves the bracket --------------------------------------------------------------------------------------

    def raise_lower_bound(self, subproblem: Subproblem, value: float, engine: str) -> None:
        """Raise a subproblem's lower bound to a proved value; lower values change nothing.

        An infinite distance is a claim about every input of the valid range: it takes an engine that has excluded all of
        them, which is possible only where neither a witness nor a limit has made the search smaller.

        Raises:
            FloatingPointError: the value is no number, so that nothing was proved and something is broken.
        """
        if math.isnan(value):
            raise FloatingPointError(f"{engine} came to a bound that is no number")
        if self.is_min_distortion and value == math.inf:
            if not math.isinf(self.goal):
                raise FloatingPointError(f"{engine} claims more than the search region can show")
            self.statistics["excluded"] = "the whole valid range"
        if value > subproblem.lower:
            before = self.lower
            subproblem.lower, subproblem.engine = float(value), engine
            if self.lower > before:
                self._record(engine)

    def exclude_exactly(self, subproblem: Subproblem, engine: str) -> None:
        """No input of the subproblem's search region is unsafe, which was decided without rounding."""
        if self.is_min_distortion:
            self.raise_lower_bound(subproblem, self.goal, engine)
            return
        subproblem.excluded = True
        if subproblem.lower < 0.0:
            self.raise_lower_bound(subproblem, 0.0, engine)

    def add_counterexample(self, points: np.ndarray, engine: str, disjunct: Disjunct | None = None) -> bool:
        """Execute candidate points (k, n) or (n,) of a disjunct, or of whichever they lie in; whether the upper side moved.

        A point is cast to the executor's precision without leaving its region, executed by the executor, and counts only as
        what it is then.
        """
        moved = False
        for point in np.atleast_2d(points):
            for each in self._cases_of(point) if disjunct is None else (self._asked(disjunct),):
                moved |= self._add_one(point, each, engine)
                if self.query.objective is Objective.FEASIBILITY and self.witness is not None:
                    return moved
        return moved

    def _cases_of(self, point: np.ndarray) -> Sequence[Disjunct]:
        """The only disjunct, or of several those that a point lies in, or almost."""
        disjuncts = self.query.specification.disjuncts
        if len(disjuncts) == 1:
            return disjuncts
        return [disjunct for disjunct in disjuncts if _near(point, disjunct.region)]

    def _asked(self, disjunct: Disjunct) -> Disjunct:
        """The query's own disjunct where `disjunct` is the one that is to be excluded instead, with larger unsafe sets."""
        if self.excluded is self.query.specification:
            return disjunct
        position = next((k for k, other in enumerate(self.excluded.disjuncts) if other is disjunct), None)
        return disjunct if position is None else self.query.specification.disjuncts[position]

    def _add_one(self, point: np.ndarray, disjunct: Disjunct, engine: str) -> bool:
        """A point that the executor calls unsafe is a witness; others only move the upper side of margins."""
        found = execute(point, disjunct, self.executor)
        if found is None or (self.is_min_distortion and not found.unsafe):
            return False
        value = disjunct.region.distance(found.point) if self.is_min_distortion else found.violation
        near = value < self.upper + _EXECUTED * (1 + abs(value))
        if self.query.objective is Objective.MAX_MARGIN and (near or math.isinf(self.upper)):
            value = violation_above(self.network, found.point, disjunct.unsafe)
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

    def enter(self, engine: str) -> None:
        """Write down that an engine has been given the query."""
        before = str(self.statistics.get(ENGINES_RUN, ""))
        if engine not in before.split(", "):
            self.statistics[ENGINES_RUN] = f"{before}, {engine}" if before else engine

    # -- shared work -------------------------------------------------------------------------------------------------

    @contextmanager
    def within(self, radius: float) -> Iterator[None]:
        """Only inputs up to a radius are of interest meanwhile."""
        self.search_radius = radius
        try:
            yield
        finally:
            self.search_radius = math.inf

    def search_region(self, region: Region) -> Region:
        """The part of a region that is still of interest: for distances the ball of the best witness."""
        if not self.is_min_distortion:
            return region
        radius = self.goal - 1 if self.is_l0 else self.goal
        return self.query.specification.with_radius(max(radius, 0.0)).region

    def rows(self, subproblems: Sequence[Subproblem]) -> tuple[Tensor, Tensor]:
        """Matrices (subproblems, most rows, outputs) and offsets (subproblems, most rows): unsafe where all rows are <= 0."""
        matrix, offset = stack_polytopes([subproblem.polytope for subproblem in subproblems])
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


def _near(point: np.ndarray, region: Region) -> bool:
    """Whether a point lies in a region's bounding box, or no farther outside than rounding puts it."""
    lower, upper = region.bounding_box()
    slack = 1e-6 * (1 + np.maximum(np.abs(lower), np.abs(upper)))
    return bool((point >= lower - slack).all() and (point <= upper + slack).all())
