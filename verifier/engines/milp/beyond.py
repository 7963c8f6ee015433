"""Witnesses just beyond a distance that is proved.

The nearest unsafe point of the program lies on the edge of the unsafe set, where an execution may find a tie, or the other
side of one. What is asked for then is the most unsafe point of a ball a little larger than what is proved, and of larger and
larger ones until an execution agrees. A ball without any raises the proved side.
"""

from __future__ import annotations

import math

from ...query import Objective
from ..state import ABOVE_ZERO, SearchState
from .solves import run_tree
from .target import Target

_FIRST = 0.4  # of the gap that closes a bracket: how much larger the first ball is than what is proved
_GROWTH = 8.0  # of that share, ball by ball, until one has a witness
_NEAR = 1.5  # between shares with and without a witness that are not told apart
_BALLS = 16  # at most
_SMALLEST = 1e-9  # of a ball's growth, where next to nothing is proved


def step_beyond(state: SearchState, target: Target, deadline: float, name: str) -> None:
    """Look for a witness in balls around what is proved of a target; for distances in all norms but 0."""
    if not state.is_min_distortion or state.is_l0:
        return
    growth = failed = _FIRST * state.settings.gap
    found = math.inf
    for _ in range(_BALLS):
        if not target.open or state.done or state.elapsed >= deadline:
            return
        radius = target.lower * (1 + growth) + _SMALLEST * growth
        last, before = radius >= state.goal, state.upper
        with state.within(radius):
            inner = Target(state, target.subproblems)
            deepest = inner.encode(Objective.MAX_MARGIN)
            tree = run_tree(state, inner, deepest, ABOVE_ZERO, deadline, name, asked=False)
            if tree.bound >= ABOVE_ZERO:
                inner.exclude(name)
        if state.upper < before:
            found = growth
        elif not last:
            failed = growth
        else:
            return
        if found <= _NEAR * failed:
            return
        growth = _GROWTH * growth if found == math.inf else math.sqrt(failed * found)
