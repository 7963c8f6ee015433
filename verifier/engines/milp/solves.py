"""Solves of a target's programs, by the chosen solver and by our own trees: each leaves a record (`mip_record`).

Records are in the query's unit. A program whose objective is another one, a violation in a query about distances, is recorded
by what it says of the query: the bracket's own sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...encoding import MixedIntegerProgram
from ...encoding.ball import ROUNDING
from ...mip_record import ABOVE_CUTOFF, CONFIRMATION, OWN_TREES, SOLVE, Point
from ...query import Objective
from ...solvers import Progress, SolveOptions, SolveResult, SolverStatus, convex_solver
from ...solvers.guarded import kind_of
from ...solvers.lp_tree import Inspect, LpTree, TreeResult
from ...solvers.row_tree import RowTree
from ..state import SearchState
from .ask import ask
from .target import Target, start_of

_MORE = 1e-8  # relatively: ten times what `confirm` lowers claims by
_NEAR = 1e-6  # a point no farther than this above the bound, relatively, is optimal


def run_solver(
    state: SearchState,
    target: Target,
    program: MixedIntegerProgram,
    deadline: float,
    name: str,
    value: Callable[[float], float] = float,
    asked: bool = True,
    cutoff: float = math.inf,
) -> tuple[SolveResult, int]:
    """One solve (two where the solver fails), and the number of the last one's record; points reach the state as they come, bounds do not: they are claims.

    Args:
        state: of the query.
        target: that the program is about.
        program: what is solved.
        deadline: in `state.elapsed`.
        name: of the engine.
        value: from the program's objective to the query's values.
        asked: whether the program's objective is the query's; else no bound is recorded.
        cutoff: points whose objective is no lower are of no interest; for solvers that take one.
    """

    def progress(event: Progress) -> bool:
        if event.incumbent is not None:
            state.add_counterexample(event.incumbent[program.columns.inputs], name)
        # an infinite dual bound ends the solve anyway, and says that there is no point
        if math.inf > event.dual >= enough(target.aim):
            return True
        return state.query.objective is Objective.FEASIBILITY and state.witness is not None

    options = target.options(deadline - state.elapsed)
    start = start_of(state, program) if program.cost.any() or program.hessian is not None else None
    options = replace(options, progress=progress, start=start, cutoff=cutoff)
    count = len(state.mips)
    result = ask(state, program, options, recorder(state, target, program, options, value, asked))
    state.count("milp_solves", len(state.mips) - count)
    if result.point is not None:
        target.offer(result.point[program.columns.inputs], name)
    return result, len(state.mips) - 1


def enough(aim: float) -> float:
    """A claim from which the aim is left when it is lowered before it is proved."""
    return aim + _MORE * (1 + abs(aim)) if math.isfinite(aim) else aim


def recorder(
    state: SearchState,
    target: Target,
    program: MixedIntegerProgram,
    options: SolveOptions,
    value: Callable[[float], float] = float,
    asked: bool = True,
) -> Callable[[str, SolveResult], None]:
    """What `ask` is to tell of its solvers: it writes a record of each answer.

    Args:
        state: of the query.
        target: that the program is about.
        program: what is solved.
        options: of the solve.
        value: from the program's objective to the query's values.
        asked: whether the program's objective is the query's; else no bound is recorded.
    """
    began = [state.elapsed]

    def heard(solver: str, result: SolveResult) -> None:
        if asked:
            seen = replace(
                result,
                objective=value(result.objective),
                dual_bound=value(result.dual_bound),
                root_bound=None if result.root_bound is None else value(result.root_bound),
                trace=tuple((seconds, value(primal), value(dual)) for seconds, primal, dual in result.trace),
            )
        else:
            seen = replace(result, objective=math.inf, dual_bound=-math.inf, root_bound=None, trace=())
        cutoff = value(options.cutoff) if asked else math.inf
        target.record(program, solver, began.pop(), seen, cutoff=cutoff)
        began.append(state.elapsed)

    return heard


def run_tree(
    state: SearchState,
    target: Target,
    program: MixedIntegerProgram,
    aim: float,
    deadline: float,
    name: str,
    value: Callable[[float], float] = float,
    threshold: float = -math.inf,
    inspect: Inspect | None = None,
    asked: bool = True,
    role: str = SOLVE,
) -> TreeResult:
    """Our own tree over a program, recorded like a solver; what it proves of distances counts at once.

    A point with an objective no higher than `threshold` ends it, since nothing is left to be shown then.

    Args:
        state: of the query.
        target: that the program is about.
        program: linear, or convex with a quadratic objective or a ball.
        aim: objective that is to be proved.
        deadline: in `state.elapsed`.
        name: of the engine.
        value: from the program's objective to the query's values.
        threshold: a point with an objective no higher ends it.
        inspect: as in `LpTree.minimum`.
        asked: whether the program's objective is the query's; else the bracket's own sides are recorded.
        role: a "solve" offers its point, what is near it included; a "confirmation" leaves that to the solver whose claim it is about.
    """
    began, before, visit = state.elapsed, state.upper, target.visitor(program, name)
    trace: list[Point] = []
    best = math.inf

    def primal(dual: float) -> float:
        if asked:  # a point misses its rows by a tolerance, and may so come out below what is proved
            return max(best, dual) if math.isfinite(dual) else best
        return state.upper if state.upper < before else math.inf

    def stop(point: np.ndarray) -> bool:
        nonlocal best
        best = min(best, value(program.objective(point)))
        visit(point)
        dual = trace[-1][2] if trace else -math.inf
        trace.append((state.elapsed - began, primal(dual), dual))
        return program.objective(point) <= threshold or state.done

    def raised(objective: float) -> None:
        dual = value(objective) if asked else target.lower
        if asked:  # what rises first is the relaxation at the root
            target.root.setdefault("lp", dual)
        trace.append((state.elapsed - began, primal(dual), dual))
        if asked and state.is_min_distortion and not target.counts:
            target.prove(value(objective) * (1 - ROUNDING), name)

    seconds = max(deadline - state.elapsed, 0.01)
    tree = LpTree(program).minimum(seconds, aim, visit=stop, raised=raised, inspect=inspect)
    state.count("tree_nodes", tree.nodes)
    own = f"{kind_of(program.relaxed()).replace('qcp', 'socp')} tree"
    if math.isfinite(tree.bound) or tree.finished:
        rests(state, own)
    proved = value(tree.bound)
    if not asked:
        proved = target.excluded if tree.bound >= aim else target.lower
    trace.append((state.elapsed - began, primal(proved), proved))
    relaxations = convex_solver(program.relaxed())
    result = SolveResult(
        SolverStatus.LIMIT if math.isinf(primal(proved)) else SolverStatus.LIMIT_WITH_INCUMBENT,
        tree.point,
        primal(proved),
        proved,
        state.elapsed - began,
        nodes=tree.nodes,
        iterations=tree.iterations,
        version=f"{relaxations.name} {relaxations.version()}",
        trace=tuple(trace),
    )
    target.record(
        program,
        own,
        began,
        result,
        proved,
        role,
        value(aim) if asked else target.excluded,
        _status(tree, aim, asked),
    )
    if tree.point is not None and role == SOLVE:
        target.offer(tree.point[program.columns.inputs], name)
    return tree


def _status(tree: TreeResult, aim: float, asked: bool) -> str:
    """What became of a tree; empty where it was stopped."""
    if tree.bound == math.inf:
        return SolverStatus.INFEASIBLE.value
    if asked and tree.finished and tree.objective - tree.bound <= _NEAR * (1 + abs(tree.bound)):
        return SolverStatus.OPTIMAL.value
    return ABOVE_CUTOFF if tree.bound >= aim else ""


def run_rows(state: SearchState, target: Target, program: MixedIntegerProgram, seconds: float, name: str) -> bool:
    """Whether a tree over all rows together proves that a program has no feasible point (`solvers.row_tree`)."""
    began, visit = state.elapsed, target.visitor(program, name)

    def stop(point: np.ndarray) -> bool:
        visit(point)
        return state.done

    tree = RowTree(program).search(seconds, stop)
    state.count("tree_nodes", tree.nodes)
    if tree.infeasible:
        rests(state, "row tree")
    proved = target.excluded if tree.infeasible else -math.inf
    lps = convex_solver(program.relaxed())
    result = SolveResult(
        SolverStatus.INFEASIBLE if tree.infeasible else SolverStatus.LIMIT,
        None,
        math.inf,
        proved,
        state.elapsed - began,
        nodes=tree.nodes,
        version=f"{lps.name} {lps.version()}",
    )
    target.record(program, "row tree", began, result, proved, CONFIRMATION)
    return tree.infeasible


def rests(state: SearchState, on: str) -> None:
    """Record which of our trees a proof rests on; of several the last in the order of `OWN_TREES`."""
    before = state.statistics.get("lower_rests_on", on)
    state.statistics["lower_rests_on"] = max(str(before), on, key=OWN_TREES.index)
