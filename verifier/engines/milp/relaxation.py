"""The convex relaxation of a target's program: what it proves comes before any solver, and settles most targets."""

from __future__ import annotations

import math

from ...query import Objective
from ...solvers.safe_dual import safe_optimum
from ..state import SearchState
from .confirm import next_whole
from .target import Target

SHARE = 0.2  # of the time left, at most, for a relaxation, and for bounds from solves


def relaxed(state: SearchState, target: Target, step: str, deadline: float, name: str, share: float = SHARE) -> bool:
    """Prove what the relaxation does, by its multipliers; whether nothing of the target is left.

    A relaxation that settles the target leaves a record, since no MIP will.

    Args:
        state: of the query.
        target: whose program is relaxed.
        step: of `MipRecord.root` that it is.
        deadline: in `state.elapsed`.
        name: of the engine.
        share: of the time until the deadline, at most.
    """
    began, unsettled = state.elapsed, target.open
    seconds = share * max(deadline - began, 0.01)
    bound, _ = safe_optimum(target.program.relaxed(), target.options(seconds))
    state.count("relaxations")
    value = target.value(bound)
    if bound == math.inf or (target.squared and bound >= target.aim):
        target.exclude(name)
        value = target.excluded
    elif state.query.objective is not Objective.FEASIBILITY and math.isfinite(bound):
        target.root[step] = value
        target.prove(next_whole(value) if target.counts else value, name)
    if unsettled and not target.open:
        target.settled(began, value)
    return state.done or not target.open
