"""Targets over balls of norm 2.

Distances and verdicts: the squared distance is a convex objective with a diagonal hessian, so that the mixed-integer QP is
searched by our own tree (`solvers.lp_tree`), whose nodes are QPs and whose leaves count for what their multipliers prove.
Margins: the ball is a quadratic row, and the nodes are second-order cone programs. A solver that takes such programs
(features "miqp" and "miqcp") is run before, for its points.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...encoding import MixedIntegerProgram
from ...encoding.ball import ROUNDING
from ...query import Objective
from ...solvers import get_solver
from ...solvers.guarded import kind_of
from ..state import SearchState
from .confirm import SOLVER_SHARE
from .solves import run_solver, run_tree
from .target import ABOVE_TIES, BELOW_TIES, Target

_TIGHTENING_SHARE = 0.2  # of the time left, at most


def solve_euclidean(state: SearchState, target: Target, deadline: float, name: str) -> None:
    """Whatever is asked of a target over a ball of norm 2."""
    target.refresh()
    target.tighten(_TIGHTENING_SHARE * max(deadline - state.elapsed, 0.0))
    if state.query.objective is Objective.MAX_MARGIN:
        _margin(state, target, deadline, name)
    else:
        _nearest(state, target, deadline, name)


def _nearest(state: SearchState, target: Target, deadline: float, name: str) -> None:
    """Minimise the squared distance; a verdict needs to know only whether it exceeds that of the radius."""
    program = target.encode(Objective.MIN_DISTORTION)
    if _asked(state, target, program, deadline, name, _root, state.is_min_distortion):
        return
    ball = target.region.ball
    assert ball is not None
    goal = min(state.goal, ball.radius) if state.is_min_distortion else ball.radius
    above = float(np.nextafter(goal * goal * (1 + ROUNDING), math.inf))
    tree = run_tree(state, target, program, above, deadline, name, _root, asked=state.is_min_distortion)
    if tree.bound >= above:
        target.exclude(name)
    elif state.is_min_distortion:
        target.prove(_root(tree.bound) * (1 - ROUNDING), name)
    elif tree.point is not None and not state.done:  # the nearest point is a tie, and only what is deeper counts
        _margin(state, target, deadline, name)


def _root(squared: float) -> float:
    """A distance from its square, which rounding may have made negative."""
    return math.sqrt(max(squared, 0.0)) if squared > -math.inf else -math.inf


def _margin(state: SearchState, target: Target, deadline: float, name: str) -> None:
    """Minimise the violation over the ball, where a verdict is asked for until its sign is known."""
    program = target.encode(Objective.MAX_MARGIN)
    if state.query.objective is Objective.MAX_MARGIN:
        if not _asked(state, target, program, deadline, name):
            target.prove(run_tree(state, target, program, state.goal, deadline, name).bound, name)
        return
    tree = run_tree(state, target, program, ABOVE_TIES, deadline, name, threshold=BELOW_TIES)
    if tree.bound >= ABOVE_TIES:
        target.exclude(name)


def _asked(
    state: SearchState,
    target: Target,
    program: MixedIntegerProgram,
    deadline: float,
    name: str,
    value: Callable[[float], float] = float,
    asked: bool = True,
) -> bool:
    """Run the chosen solver for its points, if it takes such a program; whether nothing is left to do.

    It shares the time with all targets that are open: our own tree is faster on these programs, and only it proves.
    """
    state.statistics["binaries"] = max(int(state.statistics.get("binaries", 0)), program.binaries)
    if kind_of(program) in get_solver(state.settings.milp.solver).features:
        waiting = math.ceil(len(state.open_subproblems) / len(target.subproblems))
        until = state.elapsed + SOLVER_SHARE * max(deadline - state.elapsed, 0.0) / max(waiting, 1)
        run_solver(state, target, program, until, name, value, asked)
    return state.done
