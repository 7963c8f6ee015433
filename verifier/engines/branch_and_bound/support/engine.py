"""The engine that splits supports, for norm 0: one ball after another, each with a tree of its own."""

from __future__ import annotations

from ....query import Objective
from ...state import SearchState
from .search import SupportSearch


class SupportSplit:
    """Complete for norm 0, distances and verdicts."""

    name = "support-split"
    fraction = 0.8

    def run(self, state: SearchState, deadline: float) -> None:
        """Disjunct by disjunct; for distances one change more at a time."""
        if not state.is_l0 or state.query.objective is Objective.MAX_MARGIN:
            return
        for disjunct in state.excluded.disjuncts:
            while not state.done and state.elapsed < deadline:
                subproblems, region = (
                    [subproblem for subproblem in state.open_subproblems if subproblem.disjunct is disjunct],
                    disjunct.region,
                )
                if state.is_min_distortion and subproblems:
                    changes = min(subproblem.lower for subproblem in subproblems)
                    subproblems = [subproblem for subproblem in subproblems if subproblem.lower == changes]
                    region = state.query.specification.with_radius(changes).region
                if not subproblems or not SupportSearch(state, region, subproblems, self.name).run(deadline):
                    break
