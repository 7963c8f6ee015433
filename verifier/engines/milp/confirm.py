"""What a MIP solver says is a claim; this is where claims become proofs, or not.

HiGHS has called feasible models infeasible out of presolve, and a wrong optimum of it has been published. A claim is proved again by a
tree of our own (`solvers.lp_tree`), which counts nothing but multipliers in outward-rounded arithmetic. What it does not prove in
time moves no side of the bracket: a second run of a solver, or an elastic form of the program, is no evidence where
programs are scaled badly. Both have agreed on wrong answers, by tolerances of rows, of multipliers and of entries taken for 0. The
claim itself stays in the record of its solve (`MipRecord.dual` beside `proved`).
"""

from __future__ import annotations

import math

from ...encoding import MixedIntegerProgram
from ...mip_record import CONFIRMATION
from ...solvers import SolveResult
from ...solvers.lp_tree import TreeResult
from ..state import ABOVE_ZERO, SearchState
from .solves import run_rows, run_tree
from .target import Target

SOLVER_SHARE = 0.5  # of the time left, at most, for a claim; the rest is for its confirmation
_ROW_SHARE = 0.4  # of the time left then, at most, for the tree over all rows together
LOWERED = 1e-9  # by which claims are lowered before they are proved
_NEAR = 1e-6  # a tree that misses a claim by no more than this has confirmed it, for as much as it proved


def at_least(
    state: SearchState,
    target: Target,
    program: MixedIntegerProgram,
    result: SolveResult,
    deadline: float,
    name: str,
    whole: bool,
) -> float:
    """How much is proved of the optimum of a program whose solver named a dual bound; inf where there is no point at all.

    Args:
        state: of the query; gets statistics and notes.
        target: that the program is about.
        program: what was solved; linear, its objective the query's.
        result: what the solver said.
        deadline: in `state.elapsed`.
        name: of the engine.
        whole: whether the optimum is a whole number.
    """
    claim = result.dual_bound
    # a whole number is at least the next one once it is proved to be above one
    aim = math.ceil(claim - 1e-6) - 1 + 1e-6 if whole else claim - LOWERED * (1 + abs(claim))
    tree = by_tree(state, target, program, aim, deadline, name)
    proved = next_whole(tree.bound) if whole else tree.bound
    if tree.bound < aim - _NEAR * (1 + abs(aim)):
        refuted = tree.objective < aim - _NEAR * (1 + abs(aim))
        what = "was refuted by an LP" if refuted else "was not proved in time"
        state.notes.append(f"a bound claimed by the MILP solver {what}; it was discarded")
    return proved


def by_tree(
    state: SearchState,
    target: Target,
    program: MixedIntegerProgram,
    aim: float,
    deadline: float,
    name: str,
    threshold: float = -math.inf,
    asked: bool = True,
) -> TreeResult:
    """What our own tree proves of a claim in the time left."""
    return run_tree(
        state,
        target,
        program,
        aim,
        deadline,
        name,
        threshold=threshold,
        asked=asked,
        role=CONFIRMATION,
    )


def by_rows(state: SearchState, target: Target, program: MixedIntegerProgram, deadline: float, name: str) -> bool:
    """Whether a tree over all rows together proves that a program has no feasible point."""
    return run_rows(state, target, program, _ROW_SHARE * max(deadline - state.elapsed, 0.01), name)


def nothing_unsafe(
    state: SearchState, target: Target, program: MixedIntegerProgram, deadline: float, name: str
) -> bool | None:
    """Whether a program of violations has none at or below 0; None where the tree did not get to know."""
    tree = by_tree(state, target, program, ABOVE_ZERO, deadline, name, 0.0, asked=not state.is_min_distortion)
    if tree.bound >= ABOVE_ZERO:
        return True
    if tree.objective <= 0.0:
        state.notes.append("a MILP called infeasible has a point; the answer was discarded")
        return False
    return None


def next_whole(bound: float) -> float:
    """What a whole number is at least that is at least the bound."""
    return float(math.ceil(bound - 1e-6)) if math.isfinite(bound) else bound
