"""Solves by the chosen solver, and by HiGHS where that one fails: a crash, a hang or nonsense costs one solve, not the query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...encoding import MixedIntegerProgram
from ...solvers import SolveOptions, SolveResult, SolverStatus, get_solver
from ...solvers.guarded import kind_of
from ..state import SearchState

_INSTEAD = "highs"
_LEAST = 0.1  # seconds that are worth another solve


def ask(
    state: SearchState,
    program: MixedIntegerProgram,
    options: SolveOptions,
    heard: Callable[[str, SolveResult], None] | None = None,
) -> SolveResult:
    """The answer of the first solver that does not fail; every failure becomes a note.

    Args:
        state: of the query.
        program: what is solved; of a kind that the chosen solver takes.
        options: of the solve; the second solver gets what the first one left of the time limit.
        heard: called with each solver's name and result.
    """
    chosen = state.settings.milp.solver
    began = state.elapsed
    able = kind_of(program) in get_solver(_INSTEAD).features
    for name in (chosen, _INSTEAD) if able and chosen != _INSTEAD else (chosen,):
        solver = get_solver(name)
        left = options.time_limit - (state.elapsed - began)
        result = solver.solve(program, replace(options, time_limit=left))
        if heard is not None:
            heard(solver.name, result)
        if result.status is not SolverStatus.ERROR:
            break
        state.notes.append(f"solver {solver.name} failed: {result.note or result.status.value}")
        state.count("failed_solves")
        if state.done or options.time_limit - (state.elapsed - began) < _LEAST:
            break
    return result
