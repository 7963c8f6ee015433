"""Rounds of cuts at the root of a MILP: rows of `encoding.ideal_relu` that the LP relaxation violates, while they raise it."""

from __future__ import annotations

import numpy as np

from ...encoding import MixedIntegerProgram
from ...encoding.ideal_relu import separate
from ...solvers import SolveOptions, SolverStatus
from ...solvers.highs import Highs

_ROUNDS = 20
_LEAST_GAIN = 0.02  # a round that raises the relaxation by less than this share of all rounds' gain is the last
_TIGHT = 1e-7  # rows that the last relaxation leaves more room than this are dropped


def strengthened(program: MixedIntegerProgram, seconds: float) -> MixedIntegerProgram:
    """The program with rows that every solution of it satisfies and its relaxation did not."""
    solver, cut = Highs(), program
    result = solver.solve(program.relaxed(), SolveOptions(time_limit=seconds))
    spent, first, before = result.seconds, result.objective, result.objective
    own, known = program.matrix.shape[0], program.preactivations
    for _ in range(_ROUNDS):
        if result.status is not SolverStatus.OPTIMAL or result.point is None or spent >= seconds:
            break
        matrix, limit = separate(known, cut, result.point)
        if len(limit) == 0:
            break
        cut = _without_slack(cut, own, result.point).with_rows(matrix, np.full(len(limit), -np.inf), limit)
        result = solver.solve(cut.relaxed(), SolveOptions(time_limit=max(seconds - spent, 0.01)))
        spent += result.seconds
        if result.objective - before <= _LEAST_GAIN * (result.objective - first):
            break
        before = result.objective
    return cut


def _without_slack(program: MixedIntegerProgram, own: int, point: np.ndarray) -> MixedIntegerProgram:
    """Without those rows after the first `own` that a point satisfies with room to spare."""
    room = program.row_upper - program.matrix @ point
    return program.with_only(np.flatnonzero((np.arange(len(room)) < own) | (room <= _TIGHT)))
