"""Whether what a solver answers can be: the one place that all answers of back ends pass.

It does not ask whether an answer is right, which is `engines.milp.confirm`'s business, but whether it contradicts itself or
what is known anyway. Where it does, nothing of it is used: the solver has failed, and a note says how.
"""

from __future__ import annotations

import math

import numpy as np

from ..encoding import MixedIntegerProgram
from .protocol import SolveOptions, SolveResult, SolverStatus

_KNOWN = 1e-9  # a start that violates a row by more than this is not known to be a point of the program
_VALUES = 1e-5  # relative slack between values that should be equal
_ROWS = 1e-4  # relative violation of a row, which tolerances of presolved programs do not explain
_HOLDS_POINT = (SolverStatus.OPTIMAL, SolverStatus.LIMIT_WITH_INCUMBENT)
_HOLDS_NONE = (SolverStatus.INFEASIBLE, SolverStatus.LIMIT)


def sane(program: MixedIntegerProgram, options: SolveOptions, result: SolveResult) -> SolveResult:
    """The result, or that of a solver that failed where it is nonsense."""
    if result.status is SolverStatus.ERROR:
        return result if result.note else SolveResult.failed("it says so", result.seconds, result.version)
    wrong = complaint(program, options, result)
    return result if wrong is None else SolveResult.failed(wrong, result.seconds, result.version)


def complaint(program: MixedIntegerProgram, options: SolveOptions, result: SolveResult) -> str | None:
    """What is wrong with a result, in words; None where nothing is."""
    status, point = result.status, result.point
    root = -math.inf if result.root_bound is None else result.root_bound
    numbers = [result.objective, result.dual_bound, root, *(value for step in result.trace for value in step)]
    if any(math.isnan(value) for value in numbers):
        return "a bound that is no number"
    if status in _HOLDS_POINT and point is None:
        return f"'{status.value}', but no point"
    if status in _HOLDS_NONE and point is not None:
        return f"'{status.value}', and a point"
    if result.dual_bound == math.inf and status is not SolverStatus.INFEASIBLE:
        return f"'{status.value}', and an infinite dual bound"
    if status is SolverStatus.UNBOUNDED and math.isfinite(least_objective(program)):
        return "called unbounded what its columns' bounds bound"
    if point is not None and status is not SolverStatus.UNBOUNDED:
        wrong = _of_point(program, result, point)
        if wrong is not None:
            return wrong
    return _of_start(program, options, result)


def _of_point(program: MixedIntegerProgram, result: SolveResult, point: np.ndarray) -> str | None:
    if point.shape != program.cost.shape or not np.isfinite(point).all():
        return "a point that is none"
    excess = relative_violation(program, point)
    if excess > _ROWS:
        return f"a point that misses a row or bound by {excess:.1g}"
    value = program.objective(point)
    if abs(value - result.objective) > _slack(value):
        return f"the objective {result.objective:.8g} of a point that has {value:.8g}"
    if result.dual_bound > result.objective + _slack(result.objective):
        return f"a dual bound {result.dual_bound:.8g} above its own point's {result.objective:.8g}"
    return None


def _of_start(program: MixedIntegerProgram, options: SolveOptions, result: SolveResult) -> str | None:
    """What is known of the optimum is at most what the start attains."""
    start = options.start
    if start is None or program.violation(start) > _KNOWN:
        return None
    known = program.objective(start)
    # a start that is hardly better than the cut-off need not count as a point
    if known >= options.cutoff - _slack(known):
        return None
    if result.status is SolverStatus.INFEASIBLE:
        return "called infeasible what has a known point"
    if result.dual_bound > known + _slack(known):
        return f"a dual bound {result.dual_bound:.8g} above the known {known:.8g}"
    return None


def relative_violation(program: MixedIntegerProgram, point: np.ndarray) -> float:
    """The largest violation of a row, bound or whole number by a point, relative to the size of the terms of its row.

    The ball, where there is one, is a row whose size is its radius.
    """
    activity, size = program.matrix @ point, 1 + abs(program.matrix) @ np.abs(point)
    worst = [0.0]
    for low, value, high, scale in (
        (program.row_lower, activity, program.row_upper, size),
        (program.col_lower, point, program.col_upper, 1 + np.abs(point)),
    ):
        worst += [float(((low - value) / scale).max(initial=0.0)), float(((value - high) / scale).max(initial=0.0))]
    worst.append(float(np.abs(point - np.round(point))[program.integer].max(initial=0.0)))
    if program.ball is not None:
        worst.append(program.ball.excess(point) / (1 + program.ball.radius))
    return max(worst)


def least_objective(program: MixedIntegerProgram) -> float:
    """A lower bound of the linear part of the objective from the columns' bounds alone; -inf where they leave it open."""
    ends = np.where(program.cost > 0, program.col_lower, program.col_upper)
    present = program.cost != 0
    return float((program.cost[present] * ends[present]).sum())


def _slack(value: float) -> float:
    return _VALUES * (1 + abs(value))
