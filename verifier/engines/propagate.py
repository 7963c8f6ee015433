"""Bound propagation for all open subproblems of all queries at once, each step for what the cheaper ones left open.

CROWN before any attack: most regions need no more, and what it proves need not be attacked. Then alpha-CROWN on the
outputs. For distances CROWN is run on a ladder of balls: before the attack from the whole range downwards, so that there is
a lower side whatever happens next, and after it on balls smaller than the one that the attack left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bounds import InputSet, crown
from ..bounds.alpha_crown import AlphaCrown, raise_bounds
from ..bounds.backward import LinearForm, Start
from ..network.nodes import Network
from ..specification import Disjunct, Region
from .region_bounds import RegionBatch
from .state import SearchState, Subproblem

_LADDER = (0.9, 0.75, 0.6, 0.45, 0.3, 0.2, 0.1, 0.05)
_FIRST = tuple(2.0**-k for k in range(1, 13))  # shares of the whole range
_MOST, _ENTRIES = 128, 1 << 17  # regions in a batch, and regions times neurons


def value_of(state: SearchState, bound: Tensor, form: LinearForm, inputs: InputSet) -> Tensor:
    """What a bound proves, in the units of the query; (batch,), best over rows.

    A violation for certification. For distances: the radius up to which the linear bound stays positive, and
    infinity where it does on the whole search region.

    Raises:
        FloatingPointError: a bound is NaN, which proves nothing and says that something is broken.
    """
    if bool(torch.isnan(bound).any()):
        raise FloatingPointError("a bound is no number")
    if not state.is_min_distortion:
        return bound.amax(-1)
    radius = inputs.certified_radius(form.coefficients, form.offset, form.bend)
    if state.is_l0:  # r changed entries do no harm, so the distance is at least r + 1
        radius = radius + 1
    radius = torch.where(bound > 0, torch.full_like(radius, torch.inf), radius)
    return radius.amax(-1)


@dataclass(frozen=True)
class _Job:
    """A disjunct of a state at the present search region."""

    state: SearchState
    disjunct: Disjunct
    region: Region

    @property
    def open(self) -> list[Subproblem]:
        """Subproblems that still need work."""
        return (
            []
            if self.state.done
            else [subproblem for subproblem in self.state.open_subproblems if subproblem.disjunct is self.disjunct]
        )


class Crown:
    """Settles most subproblems of verdicts in milliseconds, and gives distances a first lower side."""

    name = "crown"
    fraction = 1.0
    repeats = False

    def run(self, state: SearchState, deadline: float) -> None:
        """All disjuncts."""
        self.run_all([state], deadline)

    def run_all(self, states: Sequence[SearchState], deadline: float) -> None:
        """The disjuncts of several states, in batches as large as the memory allows."""
        if states[0].is_min_distortion:
            for state in states:
                self._first_radius(state, deadline)
            return
        for jobs in _jobs(states, deadline):
            _crown(jobs, self.name)

    def _first_radius(self, state: SearchState, deadline: float) -> None:
        """The largest of some balls that CROWN proves something on: all at once where they are cheap, else by halving."""
        ball = state.query.specification.region.ball
        assert ball is not None
        if state.is_l0:
            return  # its tree begins with no change at all
        whole = state.region_bounds.inputs(state.query.specification.region).radius
        assert whole is not None
        radii = [share * float(whole) for share in _FIRST]
        if batch_size(state.network) >= len(radii):
            _climb(state, radii, self.name)
            return
        while radii and state.elapsed < deadline and not state.done:
            middle = len(radii) // 2
            _climb(state, radii[middle : middle + 1], self.name)
            radii = radii[:middle] if state.lower > 0 else radii[middle + 1 :]


class Propagate:
    """Bounds for what attacks left open."""

    name = "propagate"
    fraction = 1.0
    repeats = False

    def run(self, state: SearchState, deadline: float) -> None:
        """All disjuncts."""
        self.run_all([state], deadline)

    def run_all(self, states: Sequence[SearchState], deadline: float) -> None:
        """The disjuncts of several states, in batches as large as the memory allows."""
        for jobs in _jobs(states, deadline):
            for step in (self._crown, self._ladder, self._alpha):
                open_ = [job for job in jobs if job.state.elapsed < deadline and job.open]
                if open_:
                    step(open_)

    def _crown(self, jobs: list[_Job]) -> None:
        """Where nothing has been bounded yet, or over a ball that no attack has made smaller."""
        fresh = [
            job
            for job in jobs
            if job.state.is_min_distortion or any(subproblem.lower == -math.inf for subproblem in job.open)
        ]
        if fresh:
            _crown(fresh, self.name)

    def _ladder(self, jobs: list[_Job]) -> None:
        """One batch of shrinking balls: what is proved on a ball of radius r is a distance of at least r."""
        for state, region in ((job.state, job.region) for job in jobs):
            if not state.is_min_distortion or state.is_l0 or region.ball is None or not np.isfinite(region.ball.radius):
                continue
            _climb(state, [share * region.ball.radius for share in _LADDER], self.name)

    def _alpha(self, jobs: list[_Job]) -> None:
        _bound(jobs, AlphaCrown(steps=20), self.name, exact=True)


def bound_open(state: SearchState, name: str) -> None:
    """CROWN and alpha-CROWN for what is open over the present search regions, in an engine's name."""
    for jobs in _jobs([state], math.inf):
        _crown(jobs, name)
        if any(job.open for job in jobs):
            _bound(jobs, AlphaCrown(steps=20), name, exact=True)


def _jobs(states: Sequence[SearchState], deadline: float) -> Iterator[list[_Job]]:
    """The disjuncts of several states, in batches as large as the memory allows, while there is time."""
    disjuncts = [(state, disjunct) for state in states for disjunct in state.excluded.disjuncts]
    chunk = batch_size(states[0].network)
    for begin in range(0, len(disjuncts), chunk):
        part = [entry for entry in disjuncts[begin : begin + chunk] if entry[0].elapsed < deadline]
        jobs = [
            _Job(state, disjunct, state.search_region(disjunct.region)) for state, disjunct in part if not state.done
        ]
        if jobs:
            yield jobs


def _crown(jobs: list[_Job], name: str) -> None:
    stack = _bound(jobs, AlphaCrown(steps=0), name)
    unstable = stack.bounds.unstable_counts(jobs[0].state.network).expand(len(jobs))
    for k, job in enumerate(jobs):
        if "unstable_relus" not in job.state.statistics:
            job.state.statistics["unstable_relus"] = int(unstable[k])


def _climb(state: SearchState, radii: Sequence[float], name: str) -> None:
    """CROWN on a batch of balls of some radii: what is proved on a ball of radius r is a distance of at least r."""
    balls = [state.query.specification.with_radius(radius).region for radius in radii]
    inputs, network, subproblems = (
        state.region_bounds.inputs(*balls),
        state.region_bounds.bounding_network,
        state.open_subproblems,
    )
    count = len(balls)
    with torch.no_grad():
        bounds = crown(network, inputs)
        rows, offset = state.rows(subproblems)
        for k, subproblem in enumerate(subproblems):
            start = Start.output(network, rows[k].expand(count, -1, -1), offset[k].expand(count, -1))
            best = raise_bounds(network, inputs, start, bounds, options=AlphaCrown(steps=0))
            limits = torch.tensor(radii, dtype=torch.float64)
            values = torch.minimum(value_of(state, best.bound, best.form, inputs), limits)
            state.raise_lower_bound(subproblem, min(float(values.max()), state.goal), name)


def _bound(jobs: list[_Job], options: AlphaCrown, name: str, exact: bool = False) -> RegionBatch:
    """Bounds on the outputs, in chunks of bounded memory; returns the regions with their bounds.

    `exact` as in `RegionBatch.of`. For verdicts the lowest point where the bounds of a disjunct are attained is offered.
    """
    first = jobs[0].state
    known, stack = first.region_bounds, RegionBatch.of([(job.state.region_bounds, job.region) for job in jobs], exact)
    bounding = known.network if exact else known.bounding_network
    subproblems = [(k, subproblem) for k, job in enumerate(jobs) for subproblem in job.open]
    chunk = max(1, (1 << 22) // max(n.size for n in known.network.nodes))
    for begin in range(0, len(subproblems), chunk):
        part = subproblems[begin : begin + chunk]
        regions = stack.rows(torch.tensor([k for k, _ in part], device=known.network.device))
        rows, offset = first.rows([subproblem for _, subproblem in part])
        best = raise_bounds(
            bounding,
            regions.inputs,
            Start.output(bounding, rows, offset),
            regions.bounds,
            options=options,
            float32_network=known.float32_network,
            losses=regions.losses,
        )
        values = value_of(first, best.bound, best.form, regions.inputs).tolist()
        rows_at = torch.arange(len(part), device=best.point.device)
        points = best.point[rows_at, best.bound.argmax(-1)].double().cpu().numpy()
        for (k, subproblem), value, point in zip(part, values, points, strict=True):
            state = jobs[k].state
            ceiling = state.goal if state.is_min_distortion else math.inf  # nothing is proved beyond the search region
            state.raise_lower_bound(subproblem, min(value, ceiling), name)
            subproblem.lowest = point
        if not first.is_min_distortion:
            lowest = {k: row for row, (k, _) in sorted(enumerate(part), key=lambda entry: -values[entry[0]])}
            for k, row in lowest.items():
                jobs[k].state.add_counterexample(points[row], name, jobs[k].disjunct)
    return stack


def batch_size(network: Network) -> int:
    """How many regions of a network are bounded in one batch."""
    return max(1, min(_MOST, _ENTRIES // sum(node.size for node in network.nodes)))
