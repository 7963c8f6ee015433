"""The engine that splits ReLU phases: tightening and searching in turn, smaller balls first where a distance is hard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ....network.compose import max_to_relu
from ....parallel.fork import helpers_for
from ....specification import Disjunct
from ...propagate import batch_size
from ...region_bounds import RegionBounds, tighten_all
from ...state import SearchState, Subproblem
from .bounds import refines
from .search import STRONG, ReluSearch
from .tree import Root

# Passes: intermediate bounds are tightened for longer and longer, with a search after each.
_PASSES = (0, 1, 4, 16, 64, 256)  # seconds of branch and bound for single neurons, before each search
_LEAST_GROWTH = 2.0  # a pass gets at least so many times the seconds of the one before, or there is none
_TIGHTENING_SHARE = 0.65  # of the time left, at most, that a pass may spend on tightening
_WORTHWHILE = 0.98  # a pass that leaves more than this share of the unstable ReLUs is the last one
_CONTENT = 0.8  # so is one that needs less than this share of its seconds: the neurons' trees have come to their end
# Searches.
_SHORT_SEARCH, _LONG_SEARCH = (
    0.3,
    0.5,
)  # seconds of a search between passes, relative to its tightening; long: few unstable ReLUs
_SHORTEST_SEARCH = 1.0  # seconds
_TRIAL = 0.4  # of a search between passes, until it is given up where it cannot end in time
_TURN, _TURN_SHARE = 5.0, 0.25  # seconds, or share of the time left, between two looks at the last search's progress
_PATIENCE = 2.0  # a search goes on where it needs at most so many times the time left; searches speed up
# Distances: the ball of the best witness, then smaller ones whose radius bisects what is provable; the other way round where
# many ReLUs are unstable.
_WHOLE_SHARE, _STEP_SHARE = 0.5, 0.25  # of the time left, for the first ball and for each smaller one
_SMALLER_SHARE = 0.5  # of the time left, for smaller balls where they come first
_NARROW = 0.02  # relative width at which bisecting ends
# Many queries in one tree.
_EASY = 256  # most domains of a subproblem; where one needs more, passes with tighter intermediate bounds do better


class ReluSplit:
    """Complete for every norm but 0 (whose balls are not convex)."""

    name = "relu-split"
    fraction = 0.93
    repeats = True

    def __init__(self) -> None:
        """No search yet."""
        self._last: ReluSearch | None = None

    def run(self, state: SearchState, deadline: float) -> None:
        """Disjunct by disjunct."""
        if state.is_l0:
            return
        known = state.region_bounds
        if state.network.has_max:
            known = RegionBounds(max_to_relu(state.network))
        if not known.network.relus:  # maxima of one entry each are none
            return
        for disjunct in state.excluded.disjuncts:
            search = None
            if state.is_min_distortion and np.isfinite(state.goal):
                if not refines(known.of(state.search_region(disjunct.region)), known.network):
                    self._approach(state, disjunct, known, state.elapsed + _SMALLER_SHARE * (deadline - state.elapsed))
                search = self._tighten_and_search(
                    state, disjunct, known, state.elapsed + _WHOLE_SHARE * (deadline - state.elapsed)
                )
                if search is not None:
                    _pursue(search, state, deadline)
                self._approach(state, disjunct, known, deadline)
            if search is None:
                search = self._tighten_and_search(state, disjunct, known, deadline)
            elif not state.done:
                search.run(deadline)
            self._last = search

    def run_all(self, states: Sequence[SearchState], deadline: float) -> None:
        """A first pass over certification queries: one tightening pass, and one tree for all, for what is easy.

        Those with many unstable ReLUs, or many domains, are left to `run`. Networks on a GPU are: trees stay on the CPU.
        """
        network = states[0].network
        if states[0].is_min_distortion or network.has_max or network.device.type != "cpu" or not network.relus:
            return
        if states[0].is_l0 or not states[0].settings.relu_split.intermediate_bounds:
            return
        disjuncts = [(state, disjunct) for state in states for disjunct in state.excluded.disjuncts]
        chunk = batch_size(network)
        for begin in range(0, len(disjuncts), chunk):
            part = [entry for entry in disjuncts[begin : begin + chunk] if _open(*entry)]
            if len(part) < 2 or states[0].elapsed > deadline:
                continue
            tighten_all(
                [(state.region_bounds, disjunct.region) for state, disjunct in part],
                lambda: states[0].elapsed > deadline,
            )
            roots = [
                Root(state, subproblem, state.region_bounds)
                for state, disjunct in part
                if refines(state.region_bounds.of(disjunct.region), network)
                for subproblem in _open(state, disjunct)
            ]
            if roots:
                ReluSearch(roots, self.name, most_nodes=_EASY).run(deadline)

    @property
    def under_way(self) -> bool:
        """Whether there was time, and cause, for a search."""
        return self._last is not None

    def arrives(self, state: SearchState) -> bool:
        """Whether the last search is the only one that is open, and rises fast enough."""
        assert self._last is not None
        searched = {id(root.subproblem) for root in self._last.tree.roots}
        alone = all(id(subproblem) in searched for subproblem in state.open_subproblems)
        return alone and _rising(self._last, state, state.settings.timeout)

    def resume(self, state: SearchState, deadline: float) -> None:
        """Go on with the last search."""
        assert self._last is not None
        self._last.run(deadline)

    def _approach(self, state: SearchState, disjunct: Disjunct, known: RegionBounds, deadline: float) -> None:
        """Raise the lower side over smaller balls where the whole one is too hard: bisect what may be provable."""
        ceiling = state.goal
        while not state.done and state.elapsed < deadline:
            low, ceiling = state.lower, min(ceiling, state.goal)
            if ceiling - low <= _NARROW * ceiling:
                return
            radius = (low + ceiling) / 2
            with state.within(radius):
                until = state.elapsed + _STEP_SHARE * (deadline - state.elapsed)
                self._tighten_and_search(state, disjunct, known, until)
                if not state.done:
                    ceiling = radius

    def _tighten_and_search(
        self, state: SearchState, disjunct: Disjunct, known: RegionBounds, deadline: float
    ) -> ReluSearch | None:
        """Tighten and search in turn: each pass tightens harder, and its search is short beside it, save the last.

        Returns the last search, where there was time for it.
        """
        budget = _TIGHTENING_SHARE * max(deadline - state.elapsed, 0.0)
        spent = 0.0
        for wanted in _PASSES:
            subproblems = _open(state, disjunct)
            if not subproblems or state.elapsed > deadline:
                return None
            began, region = state.elapsed, state.search_region(disjunct.region)
            before = known.of(region).unstable_count(known.network)
            if not state.settings.relu_split.intermediate_bounds:
                search = ReluSearch([Root(state, subproblem, known) for subproblem in subproblems], self.name, STRONG)
                search.run(deadline)
                return search
            left = budget - spent
            seconds = wanted if (1 + _LEAST_GROWTH) * wanted <= left else left
            known.tighten(region, seconds, _clock(state, began + left), helpers_for(state.settings.threads))
            spent += state.elapsed - began
            stalled = known.of(region).unstable_count(known.network) > _WORTHWHILE * before
            content = state.elapsed - began < _CONTENT * seconds
            last = wanted == _PASSES[-1] or spent >= 0.95 * budget or (seconds > 0 and (stalled or content))
            search = ReluSearch(
                [Root(state, subproblem, known) for subproblem in subproblems], self.name, STRONG if last else ()
            )
            if last:
                search.run(deadline)
                return search
            share = _LONG_SEARCH if search.bounds.refine else _SHORT_SEARCH
            _try(search, state, min(deadline, state.elapsed + max(_SHORTEST_SEARCH, share * spent)))
        raise AssertionError("one of the passes is the last")


def _open(state: SearchState, disjunct: Disjunct) -> list[Subproblem]:
    """Subproblems of a disjunct that still need work."""
    return (
        [] if state.done else [subproblem for subproblem in state.open_subproblems if subproblem.disjunct is disjunct]
    )


def _pursue(search: ReluSearch, state: SearchState, deadline: float) -> None:
    """Search on while the query's time would do for the rest."""
    while state.elapsed < deadline and _rising(search, state, state.settings.timeout):
        left = deadline - state.elapsed
        search.run(state.elapsed + min(left, max(_TURN, _TURN_SHARE * left)))


def _try(search: ReluSearch, state: SearchState, until: float) -> None:
    """Search for so long, or give up after a part of it where the rest will not do."""
    search.run(state.elapsed + _TRIAL * (until - state.elapsed))
    if state.elapsed < until and _rising(search, state, until):
        search.run(until)


def _rising(search: ReluSearch, state: SearchState, by: float) -> bool:
    """Whether a search rises so fast that it will have come to its end when `state.elapsed` is `by`."""
    return not state.done and search.remaining() <= _PATIENCE * (by - state.elapsed)


def _clock(state: SearchState, limit: float) -> Callable[[], bool]:
    """Whether a time has come."""
    return lambda: state.elapsed > limit
