"""What a MIP solver says is a claim; this is where claims become proofs, or not.

HiGHS has called feasible models infeasible out of presolve, and a wrong optimum of it has been published. A claimed bound is
proved again by a tree of our own (`solvers.lp_tree`), which counts nothing but multipliers in outward-rounded arithmetic.
Where that takes too long a second run of the solver, with another seed and without presolve, has to agree; for "no
feasible point" that run is the elastic form, which has one whatever a solver says. Both have to hold by more than a solver may
misjudge rows of such a size (`MixedIntegerProgram.doubt`). What rests on two runs is recorded as such.
"""

from __future__ import annotations

import math

from ...encoding import MixedIntegerProgram
from ...mip_record import CONFIRMATION
from ...solvers import SolveOptions, SolveResult, SolverStatus
from ...solvers.lp_tree import TreeResult
from ..state import SearchState
from .ask import ask
from .solves import recorder, rests, run_rows, run_tree
from .target import ABOVE_TIES, Target

INFEASIBLE_BY = 5e-9  # least violation of a row: five times the tolerance of the solvers
SOLVER_SHARE = 0.5  # of the time left, at most, for a claim; the rest is for its confirmation
_ROW_SHARE = 0.4  # likewise, for the tree over all rows together
_TREE_SHARE = 0.6  # of the time left then, at most, for the tree
LOWERED = 1e-9  # by which claims are lowered before they are proved
_AGREED = 1e-6  # by which claims are lowered that are not proved: solvers were seen to be off by 2e-8
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
    near = _NEAR * (1 + abs(aim))
    if tree.bound < aim - near:
        if tree.objective < aim - near:
            state.notes.append("a bound claimed by the MILP solver was refuted by an LP; it was discarded")
        else:
            return max(proved, _second_run(state, target, program, aim, deadline, whole))
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
    """What our own tree proves, in a share of the time left: the rest is for a second run of the solver."""
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
        share=_TREE_SHARE,
    )


def by_rows(state: SearchState, target: Target, program: MixedIntegerProgram, deadline: float, name: str) -> bool:
    """Whether a tree over all rows together proves that a program has no feasible point."""
    return run_rows(state, target, program, _ROW_SHARE * max(deadline - state.elapsed, 0.01), name)


def nothing_unsafe(
    state: SearchState, target: Target, program: MixedIntegerProgram, deadline: float, name: str
) -> bool | None:
    """Whether a program of violations has none at or below 0; None where the tree did not get to know."""
    tree = by_tree(state, target, program, ABOVE_TIES, deadline, name, 0.0, asked=not state.is_min_distortion)
    if tree.bound >= ABOVE_TIES:
        return True
    if tree.objective <= 0.0:
        state.notes.append("a MILP called infeasible has a point; the answer was discarded")
        return False
    return None


def is_infeasible(state: SearchState, target: Target, program: MixedIntegerProgram, deadline: float, name: str) -> bool:
    """Whether every input violates some row of a program by more than a solver may misjudge, by its elastic form."""
    least = INFEASIBLE_BY + program.doubt()

    def beyond(event: object) -> bool:
        return getattr(event, "dual", -math.inf) > least

    options = SolveOptions(
        time_limit=max(deadline - state.elapsed, 0.1),
        threads=state.settings.threads,
        seed=state.settings.seed + 1,
        presolve=False,
        progress=beyond,
    )
    elastic = program.elastic()
    heard = recorder(state, target, elastic, options, asked=False, role=CONFIRMATION, form="elastic")
    again = ask(state, elastic, options, heard)
    state.count("second_opinions")
    attained = again.point is not None and again.objective <= least
    if again.status is not SolverStatus.INFEASIBLE and again.dual_bound > least and not attained:
        rests(state, "elastic form")
        target.confirmed(len(state.mips) - 1, target.excluded)
        return True
    if again.point is not None:
        target.visitor(program, name)(again.point)
    state.notes.append("a MILP called infeasible was not confirmed by its elastic form; the answer was discarded")
    return False


def _second_run(
    state: SearchState, target: Target, program: MixedIntegerProgram, aim: float, deadline: float, whole: bool
) -> float:
    """The lower of what two runs claim; nothing where the second one attains less than the first one claimed."""
    options = SolveOptions(
        time_limit=max(deadline - state.elapsed, 0.01),
        relative_gap=state.settings.gap / 10,
        absolute_gap=0.999 if whole else 1e-9,
        threads=state.settings.threads,
        seed=state.settings.seed + 1,
        presolve=False,
    )
    again = ask(state, program, options, recorder(state, target, program, options, role=CONFIRMATION))
    state.count("milp_second_runs")
    slack = _NEAR * (1 + abs(aim))
    attained = again.objective if again.point is not None and program.violation(again.point) <= 1e-6 else math.inf
    if again.status is SolverStatus.INFEASIBLE or attained < aim - slack:
        state.notes.append("two runs of the MILP solver disagree; the answer was discarded")
        return -math.inf
    if not math.isfinite(again.dual_bound):
        return -math.inf
    claim = min(aim + (1e-5 if whole else 0.0), again.dual_bound)
    agreed = claim - _AGREED * (1 + abs(claim)) - program.doubt()
    if not math.isfinite(agreed):
        return -math.inf
    state.count("milp_agreed")
    rests(state, "two solver runs")
    agreed = next_whole(agreed) if whole else agreed
    target.confirmed(len(state.mips) - 1, agreed)
    return agreed


def next_whole(bound: float) -> float:
    """What a whole number is at least that is at least the bound."""
    return float(math.ceil(bound - 1e-6)) if math.isfinite(bound) else bound
