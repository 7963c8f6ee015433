"""Targets over balls of norm 2.

Distances and verdicts: the squared distance is a convex objective with a diagonal hessian, so that the mixed-integer QP is
searched by our own tree (`solvers.lp_tree`), whose nodes are QPs and whose leaves count for what their multipliers prove.
A solver that takes such programs (feature "miqp") is run before, for its points. Margins: the ball is a constraint, which
tangents stand for, at the attack's point, at what relaxations answer, and at each solution ("outer approximation"; Duran
& Grossmann, Mathematical Programming 1986).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...encoding import MixedIntegerProgram
from ...norms import get_norm
from ...query import Objective
from ...solvers import SolveResult, SolverStatus, get_solver
from ...solvers.highs import Highs
from ...specification import NormBall, Region
from ..state import SearchState
from ..tangents import ROUNDING, with_tangent
from .confirm import SOLVER_SHARE, at_least, by_tree
from .solves import run_solver, run_tree
from .target import Target

_TIGHTENING_SHARE = 0.2  # of the time left, at most
_ROUNDS = 30  # of tangents at relaxations


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
    state.statistics["binaries"] = max(int(state.statistics.get("binaries", 0)), program.binaries)
    if "miqp" in get_solver(state.settings.milp.solver).features:
        until = state.elapsed + SOLVER_SHARE * max(deadline - state.elapsed, 0.0)
        run_solver(state, target, program, until, name, _root, state.is_min_distortion)
        if state.done:
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
    """Minimise the violation over the box and tangents of the ball."""
    ball = target.region.ball
    assert ball is not None
    center, radius = ball.center, ball.radius
    boxed = Region(*target.region.bounding_box(), NormBall(center, get_norm("inf"), math.inf))
    program = target.encode(Objective.MAX_MARGIN, boxed)
    if state.witness is not None:
        program = _touched(program, state.witness, center, radius)
    program = _relaxed(program, target, center, radius)
    until = state.elapsed + SOLVER_SHARE * max(deadline - state.elapsed, 0.0)
    claimed: SolveResult | None = None
    while state.elapsed < until and not state.done:
        result, _ = run_solver(state, target, program, until, name)
        if result.status is SolverStatus.INFEASIBLE:
            claimed = result
            break
        if math.isfinite(result.dual_bound) and (claimed is None or result.dual_bound > claimed.dual_bound):
            claimed = result
        if result.point is None:
            break
        x = result.point[program.columns.inputs]
        length = float(np.linalg.norm(x - center))
        if length - radius <= 0.1 * state.settings.gap * max(length, 1e-12) or length == 0.0:
            break
        program = _touched(program, x, center, radius)
    if claimed is None or state.done:
        return
    if claimed.status is SolverStatus.INFEASIBLE:
        target.prove(by_tree(state, target, program, state.upper, deadline, name).bound, name)
    else:
        aim = replace(claimed, dual_bound=min(claimed.dual_bound, state.upper))
        target.prove(at_least(state, target, program, aim, deadline, name, False), name)


def _relaxed(program: MixedIntegerProgram, target: Target, center: np.ndarray, radius: float) -> MixedIntegerProgram:
    """With tangents where relaxations answer beyond the ball, one after another."""
    for _ in range(_ROUNDS):
        found = Highs().solve(program.relaxed(), target.options(1.0))
        if found.point is None:
            break
        x = found.point[program.columns.inputs]
        if float(np.linalg.norm(x - center)) <= radius * (1 + 1e-6):
            break
        program = _touched(program, x, center, radius)
    return program


def _touched(program: MixedIntegerProgram, x: np.ndarray, center: np.ndarray, radius: float) -> MixedIntegerProgram:
    """With the tangent of the ball in the direction of a point."""
    length = float(np.linalg.norm(x - center))
    return program if length == 0.0 else with_tangent(program, center, (x - center) / length, radius)
