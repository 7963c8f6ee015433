"""The engine that takes all rows of an unsafe set together: propagated back to the inputs, then a tree over what is left.

Bounds of single rows prove nothing of a conjunction whose every row can be met alone, as in formulas written as networks:
one row says that no clause is violated, another that every input is 0 or 1.
"""

from __future__ import annotations

import numpy as np

from ....encoding import encode
from ....query import Objective
from ....solvers.row_tree import RowTree
from ...state import ABOVE_ZERO, SearchState, Subproblem

MOST_UNSTABLE = 20_000  # ReLUs: rows are propagated in every node
_PATIENCE = 3  # unsafe sets in a row whose rows say nothing together, before the others are left alone


class RowSplit:
    """For unsafe sets of several rows that, together, fix most phases or make inputs whole; verdicts and distances."""

    name = "row-split"
    fraction = 0.6

    def run(self, state: SearchState, deadline: float) -> None:
        """Subproblem by subproblem."""
        if state.query.objective is Objective.MAX_MARGIN or state.is_l0:
            return
        silent = 0
        for subproblem in state.open_subproblems:
            if state.done or state.elapsed >= deadline or silent == _PATIENCE:
                return
            if len(subproblem.polytope.offset) > 1 and state.is_open(subproblem):
                silent = 0 if self._search(state, subproblem, deadline) else silent + 1

    def _search(self, state: SearchState, subproblem: Subproblem, deadline: float) -> bool:
        """Whether the rows say something together; the search, if so."""
        region = state.search_region(subproblem.region)
        bounds = state.bounds(region)
        if not 0 < bounds.unstable_count(state.network) <= MOST_UNSTABLE:
            return False
        program = encode(state.network, bounds, region, (subproblem.polytope,), Objective.FEASIBILITY)
        tree = RowTree(program)
        if not tree.promises:
            return False

        def visit(point: np.ndarray) -> bool:
            state.add_counterexample(point[program.columns.inputs], self.name, subproblem.disjunct)
            return state.done

        result = tree.search(deadline - state.elapsed, visit, lambda: state.done)
        state.count("nodes", result.nodes)
        if result.infeasible:
            reach = np.inf if region.ball is None else region.ball.radius
            value = min(reach, state.goal) if state.is_min_distortion else ABOVE_ZERO
            state.raise_lower_bound(subproblem, value, self.name)
        return True
