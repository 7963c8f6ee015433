"""The engine that splits input boxes, for networks with few inputs."""

from __future__ import annotations

from ....query import Objective
from ...state import SearchState
from .search import InputSearch

MOST_INPUTS = 20
_MARGIN_SHARE = 0.1  # of the time left, for optimising


class InputSplit:
    """Applies to boxes of at most `MOST_INPUTS` inputs when no distance is asked for."""

    name = "input-split"
    fraction = 0.8

    def run(self, state: SearchState, deadline: float) -> None:
        """Disjunct by disjunct."""
        if state.is_min_distortion or state.network.input_size > MOST_INPUTS:
            return
        for disjunct in state.excluded.disjuncts:
            subproblems = [subproblem for subproblem in state.open_subproblems if subproblem.disjunct is disjunct]
            region = disjunct.region
            if not region.is_box:
                continue
            if state.query.objective is Objective.MAX_MARGIN:  # boxes around a kink of the optimum never come to an end
                deadline = min(deadline, state.elapsed + _MARGIN_SHARE * state.time_left)
            if subproblems and not state.done and state.elapsed < deadline:
                InputSearch(state, disjunct, subproblems, self.name).run(deadline)
