"""Targets over balls of norm 2.

Distances and verdicts: the squared distance is a convex objective with a diagonal hessian, so that the mixed-integer QP is
searched by our own tree (`solvers.lp_tree`), whose nodes are QPs and whose leaves count for what their multipliers prove.
Margins: the ball is a quadratic row, and the nodes are second-order cone programs. A solver that takes such programs
(features "miqp" and "miqcp") is run before. It is asked for points that are better than what is known, and for no others, and
stopped once it claims that there is none; the tree proves that claim, or what else there is to prove.
"""

from __future__ import annotations

import math

from ...encoding import MixedIntegerProgram
from ...mip_record import CONFIRMATION, SOLVE
from ...query import Objective
from ...solvers import SolverStatus, get_solver
from ...solvers.guarded import kind_of
from ..state import ABOVE_ZERO, SearchState
from .confirm import SOLVER_SHARE
from .solves import run_solver, run_tree
from .target import BELOW_TIES, Target, root_of


def solve_euclidean(state: SearchState, target: Target, deadline: float, name: str) -> None:
    """Search a target over a ball of norm 2 that its relaxation has left open."""
    program, asked = target.program, state.query.objective is not Objective.FEASIBILITY
    state.statistics["binaries"] = max(int(state.statistics.get("binaries", 0)), program.binaries)
    index, claim = _solver(state, target, program, deadline, name, asked)
    if state.done or not target.open:
        return
    aim, value = target.aim, root_of if target.squared else float
    role = CONFIRMATION if claim >= aim else SOLVE
    tree = run_tree(state, target, program, aim, deadline, name, value, asked=asked, role=role)
    if target.squared and tree.bound >= aim:
        target.exclude(name)
    elif asked:
        target.prove(target.value(tree.bound), name)
    elif tree.point is not None and not state.done:  # the nearest point is a tie, and only what is deeper counts
        _deeper(state, target, deadline, name)
    if index is not None and (asked or claim >= aim):
        target.confirmed(index, min(value(claim), target.lower))


def _deeper(state: SearchState, target: Target, deadline: float, name: str) -> None:
    """Minimise the violation over the ball until its sign is known."""
    program = target.encode(Objective.MAX_MARGIN)
    tree = run_tree(state, target, program, ABOVE_ZERO, deadline, name, threshold=BELOW_TIES)
    if tree.bound >= ABOVE_ZERO:
        target.exclude(name)


def _solver(
    state: SearchState, target: Target, program: MixedIntegerProgram, deadline: float, name: str, asked: bool
) -> tuple[int | None, float]:
    """Run the chosen solver, if it takes such a program: its record's number, and the bound that it claims on the objective.

    It shares the time with all targets that are open: our own tree is faster on these programs, and only it proves.
    """
    features = get_solver(state.settings.milp.solver).features
    if kind_of(program) not in features:
        return None, -math.inf
    waiting = math.ceil(len(state.open_subproblems) / len(target.subproblems))
    until = state.elapsed + SOLVER_SHARE * max(deadline - state.elapsed, 0.0) / max(waiting, 1)
    value = root_of if target.squared else float
    cutoff = target.aim if "cutoff" in features else math.inf
    result, index = run_solver(state, target, program, until, name, value, asked, cutoff)
    if result.status is SolverStatus.ERROR:
        return None, -math.inf
    return index, result.dual_bound
