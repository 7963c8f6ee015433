"""What a MIP solver says is a claim; this is where claims become proofs, or not.

HiGHS has called feasible models infeasible out of presolve, and a wrong optimum of it has been published. A claimed bound is
proved again by a tree of our own (`solvers.lp_tree`), which counts nothing but multipliers in outward-rounded arithmetic.
Where that takes too long a second run of the solver, with another seed and without presolve, has to agree; for "no
feasible point" that run is the elastic form, which has one whatever a solver says. What rests on two runs is recorded as such.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...encoding import MixedIntegerProgram
from ...solvers import SolveOptions, SolveResult, SolverStatus
from ...solvers.lp_tree import Inspect, LpTree, TreeResult
from ...solvers.row_tree import RowTree
from ..state import SearchState
from .ask import ask

INFEASIBLE_BY = 5e-9  # least violation of a row: five times the tolerance of the solvers
SOLVER_SHARE = 0.5  # of the time left, at most, for a claim; the rest is for its confirmation
_ROW_SHARE = 0.4  # likewise, for the tree over all rows together
_TREE_SHARE = 0.6  # of the time left then, at most, for the tree
_SLACK = 1e-9  # by which claims are lowered before they are proved
_NEAR = 1e-6  # a tree that misses a claim by no more than this has confirmed it, for as much as it proved
_RESTS_ON = ("lp tree", "elastic form", "two solver runs")  # best first: the record names the weakest

Visit = Callable[[np.ndarray], None]


def at_least(
    state: SearchState,
    program: MixedIntegerProgram,
    result: SolveResult,
    deadline: float,
    visit: Visit,
    whole: bool,
    raised: Callable[[float], None] | None = None,
) -> float:
    """How much is proved of the optimum of a program whose solver named a dual bound; inf where there is no point at all.

    Args:
        state: of the query; gets statistics and notes.
        program: what was solved; linear.
        result: what the solver said.
        deadline: in `state.elapsed`.
        visit: called with points that the tree comes upon.
        whole: whether the optimum is a whole number.
        raised: called with what the tree has proved, whenever that is more.
    """
    claim = result.dual_bound
    # a whole number is at least the next one once it is proved to be above one
    target = math.ceil(claim - 1e-6) - 1 + 1e-6 if whole else claim - _SLACK * (1 + abs(claim))
    tree = by_tree(state, program, target, deadline, visit, raised=raised)
    proved = next_whole(tree.bound) if whole else tree.bound
    near = _NEAR * (1 + abs(target))
    if tree.bound < target - near:
        if tree.objective < target - near:
            state.notes.append("a bound claimed by the MILP solver was refuted by an LP; it was discarded")
        else:
            return max(proved, _second_run(state, program, target, deadline, whole))
    return proved


def by_tree(
    state: SearchState,
    program: MixedIntegerProgram,
    target: float,
    deadline: float,
    visit: Visit,
    threshold: float = -math.inf,
    raised: Callable[[float], None] | None = None,
    share: float = _TREE_SHARE,
    inspect: Inspect | None = None,
) -> TreeResult:
    """What our own tree proves; a point at or below `threshold` ends it, since nothing is left to be shown then.

    It has a share of the time left; the rest is for a second run of the solver, where there is one.
    """

    def stop(point: np.ndarray) -> bool:
        visit(point)
        return program.objective(point) <= threshold or state.done

    seconds = share * max(deadline - state.elapsed, 0.01)
    tree = LpTree(program).minimum(seconds, target, visit=stop, raised=raised, inspect=inspect)
    state.count("tree_nodes", tree.nodes)
    if math.isfinite(tree.bound) or tree.finished:
        _rests(state, "lp tree")
    return tree


def by_rows(state: SearchState, program: MixedIntegerProgram, deadline: float, visit: Visit) -> bool:
    """Whether a tree over all rows together proves that a program has no feasible point (`solvers.row_tree`)."""

    def stop(point: np.ndarray) -> bool:
        visit(point)
        return state.done

    tree = RowTree(program)
    result = tree.search(_ROW_SHARE * max(deadline - state.elapsed, 0.01), stop)
    state.count("tree_nodes", result.nodes)
    if result.infeasible:
        _rests(state, "lp tree")
    return result.infeasible


def nothing_at_most(
    state: SearchState, program: MixedIntegerProgram, value: float, deadline: float, visit: Visit
) -> bool | None:
    """Whether the optimum of a program is above a value; None where the tree did not get to know."""
    above = float(np.nextafter(value, math.inf))
    tree = by_tree(state, program, above, deadline, visit, value)
    if tree.bound >= above:
        return True
    if tree.objective <= value:
        state.notes.append("a MILP called infeasible has a point; the answer was discarded")
        return False
    return None


def is_infeasible(state: SearchState, program: MixedIntegerProgram, deadline: float, visit: Visit) -> bool:
    """Whether every input violates some row of a program by more than the solver's tolerances, by its elastic form."""

    def beyond(event: object) -> bool:
        return getattr(event, "dual", -math.inf) > INFEASIBLE_BY

    options = SolveOptions(
        time_limit=max(deadline - state.elapsed, 0.1),
        threads=state.settings.threads,
        seed=state.settings.seed + 1,
        presolve=False,
        progress=beyond,
    )
    again = ask(state, program.elastic(), options)
    state.count("second_opinions")
    attained = again.point is not None and again.objective <= INFEASIBLE_BY
    if again.status is not SolverStatus.INFEASIBLE and again.dual_bound > INFEASIBLE_BY and not attained:
        _rests(state, "elastic form")
        return True
    if again.point is not None:
        visit(again.point)
    state.notes.append("a MILP called infeasible was not confirmed by its elastic form; the answer was discarded")
    return False


def _second_run(state: SearchState, program: MixedIntegerProgram, target: float, deadline: float, whole: bool) -> float:
    """The lower of what two runs claim; nothing where the second one attains less than the first one claimed."""
    options = SolveOptions(
        time_limit=max(deadline - state.elapsed, 0.01),
        relative_gap=state.settings.gap / 10,
        absolute_gap=0.999 if whole else 1e-9,
        threads=state.settings.threads,
        seed=state.settings.seed + 1,
        presolve=False,
    )
    again = ask(state, program, options)
    state.count("milp_second_runs")
    slack = _NEAR * (1 + abs(target))
    attained = again.objective if again.point is not None and program.violation(again.point) <= 1e-6 else math.inf
    if again.status is SolverStatus.INFEASIBLE or attained < target - slack:
        state.notes.append("two runs of the MILP solver disagree; the answer was discarded")
        return -math.inf
    if not math.isfinite(again.dual_bound):
        return -math.inf
    agreed = min(target + (1e-5 if whole else 0.0), again.dual_bound - _SLACK * (1 + abs(again.dual_bound)))
    state.count("milp_agreed")
    _rests(state, "two solver runs")
    return next_whole(agreed) if whole else agreed


def next_whole(bound: float) -> float:
    """What a whole number is at least that is at least the bound."""
    return float(math.ceil(bound - 1e-6)) if math.isfinite(bound) else bound


def _rests(state: SearchState, on: str) -> None:
    """Record what a proof rests on; the weakest stays."""
    before = state.statistics.get("lower_rests_on", on)
    state.statistics["lower_rests_on"] = max(str(before), on, key=_RESTS_ON.index)
