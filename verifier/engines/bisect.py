"""Closes in on a distance from both sides: balls between the two are bounded, and attacked where their bounds are lowest.

What a ball's bounds prove is a lower side, and an unsafe input that a descent finds in it is an upper side; either way the
bracket shrinks, and no tree is needed. Descents that begin at the center, as in `falsify`, end far outside on networks that were
trained to be robust.
"""

from __future__ import annotations

import torch

from ..attacks import run
from ..attacks.minimal import pulled_back
from ..attacks.pgd import Pgd
from .attacking import attack_problem, found_points, guided, late, offer_ray
from .polish import polish
from .propagate import bound_open
from .region_bounds import MANY_UNSTABLE
from .state import SearchState, Subproblem

_FIRST, _WIDEST, _LEAST = 0.04, 0.2, 0.002  # steps inwards, relative to the upper side
_ATTACKED = 3  # subproblems of a ball, those whose bounds are lowest


class Bisect:
    """Balls inside the nearest witness's, farther and farther inwards while witnesses are found there."""

    name = "bisect"
    fraction = 0.3
    repeats = False

    def run(self, state: SearchState, deadline: float) -> None:
        """Nothing to do for verdicts, in norm 0, and where trees of LPs close in (`lp-split`)."""
        if not state.is_min_distortion or state.is_l0 or state.witness is None:
            return
        (disjunct,) = state.excluded.disjuncts
        if state.bounds(state.search_region(disjunct.region)).unstable_count(state.network) <= MANY_UNSTABLE:
            return
        step, seed = _FIRST, state.settings.seed
        while step >= _LEAST and not state.done and state.elapsed < deadline:
            before, seed = state.upper, seed + 1
            with state.within(max(before * (1 - step), (state.lower + before) / 2)):
                bound_open(state, self.name)
                open_ = sorted(state.open_subproblems, key=lambda each: each.lower)
                if open_:
                    self._attack(state, open_[:_ATTACKED], seed, deadline)
            step = min(2 * step, _WIDEST) if state.upper < before else step / 2

    def _attack(self, state: SearchState, subproblems: list[Subproblem], seed: int, deadline: float) -> None:
        """Descend from where bounds are lowest; what is found is pulled back towards the center and polished."""
        regions = [state.search_region(subproblem.region) for subproblem in subproblems]
        problem = attack_problem(state, subproblems, regions)
        attack = Pgd(steps=40, restarts=2, stop=late(state, deadline))
        found = run(guided(attack, subproblems), problem, seed)
        nearest = pulled_back(problem, found.points, found.success)
        points = found_points(nearest, subproblems)
        before = state.upper
        for k in torch.nonzero(found.success).flatten().tolist():
            offer_ray(state, points[k], self.name)
            if state.upper < before:
                polish(state, points[k], subproblems[k], self.name)
