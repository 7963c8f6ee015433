"""The ReLU-splitting engine: tightening and searching in turn, and smaller balls first where a distance is hard."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...network.simplify import max_to_relu
from ...specification import Case
from ..region_bounds import RegionBounds
from ..state import SearchState
from .relu_search import STRONG, ReluSearch

_PASSES = (0, 1, 4, 16, 64, 256)  # seconds of splitting for single neurons, before each search
_TIGHTENING_SHARE = 0.7  # of the time that is left
_SHORT_SEARCH, _LONG_SEARCH = 0.3, 0.5  # of the time spent on tightening; long where few ReLUs are unstable
_SHORTEST_SEARCH = 1.0  # seconds
_WORTHWHILE = 0.95  # a pass that leaves more than this share of the unstable ReLUs is the last one
_WHOLE_SHARE, _STEP_SHARE = 0.5, 0.25  # of the time left, for distances: the whole ball first, then a smaller one
_NARROW = 0.02  # relative width at which bisecting what is provable ends


class ReluSplit:
    """Complete for every norm but 0 (whose balls are not convex)."""

    name = "relu-split"

    def run(self, state: SearchState, deadline: float) -> None:
        """Case by case."""
        if state.count_norm or not (state.network.relus or state.network.has_max):
            return
        known = state.region_bounds
        if state.network.has_max:
            known = RegionBounds(max_to_relu(state.network))
        for case in state.excluded.cases:
            search = None
            if state.distances and np.isfinite(state.goal):
                search = self._settle(state, case, known, state.elapsed + _WHOLE_SHARE * (deadline - state.elapsed))
                self._approach(state, case, known, deadline)
            if search is None:
                self._settle(state, case, known, deadline)
            elif not state.done:
                search.run(deadline)

    def _approach(self, state: SearchState, case: Case, known: RegionBounds, deadline: float) -> None:
        """Raise the lower side over smaller balls where the whole one is too hard: bisect what may be provable."""
        ceiling = state.goal
        try:
            while not state.done and state.elapsed < deadline:
                low, ceiling = state.lower, min(ceiling, state.goal)
                if ceiling - low <= _NARROW * ceiling:
                    return
                state.focus = (low + ceiling) / 2
                self._settle(state, case, known, state.elapsed + _STEP_SHARE * (deadline - state.elapsed))
                if not state.done:
                    ceiling = state.focus
                state.focus = math.inf
        finally:
            state.focus = math.inf

    def _settle(self, state: SearchState, case: Case, known: RegionBounds, deadline: float) -> ReluSearch | None:
        """Tighten and search in turn: each pass tightens harder, and its search is short beside it, save the last.

        Returns the last search, where there was time for it.
        """
        budget = _TIGHTENING_SHARE * max(deadline - state.elapsed, 0.0)
        spent = 0.0
        for seconds in _PASSES:
            pairs = [pair for pair in state.open_pairs if pair.case is case]
            if not pairs or state.done or state.elapsed > deadline:
                return None
            began, region = state.elapsed, state.search_region(case.region)
            before = known.of(region).unstable_count(known.network)
            if not state.settings.tightening:
                search = ReluSearch(state, case, pairs, self.name, known, STRONG)
                search.run(deadline)
                return search
            left = budget - spent
            known.tighten(region, min(seconds, left), _clock(state, began + left))
            spent += state.elapsed - began
            stalled = seconds > 0 and known.of(region).unstable_count(known.network) > _WORTHWHILE * before
            last = seconds == _PASSES[-1] or spent >= 0.95 * budget or stalled
            search = ReluSearch(state, case, pairs, self.name, known, STRONG if last else ())
            share = _LONG_SEARCH if search.bounds.refine else _SHORT_SEARCH
            search.run(deadline if last else min(deadline, state.elapsed + max(_SHORTEST_SEARCH, share * spent)))
            if last:
                return search
        raise AssertionError("one of the passes is the last")


def _clock(state: SearchState, limit: float) -> Callable[[], bool]:
    """Whether a time has come."""
    return lambda: state.elapsed > limit
