"""Lower bounds on LPs that rest on arithmetic alone, whatever the solver that named the multipliers.

Neumaier & Shcherbina, "Safe bounds in linear and mixed-integer linear programming", Mathematical Programming 2004: for
any y, the optimum of min {c x : l <= A x <= u, x in a box} is at least

    sum over rows of min(y l, y u)  +  sum over columns of min over the box of (c - A' y) x,

where a row counts on the side that its multiplier's sign names. Good multipliers make it the optimum.
"""

from __future__ import annotations

import numpy as np

from ..encoding import MixedIntegerProgram
from .highs import Highs
from .protocol import SolveOptions, SolverStatus

_UNIT = 2.0**-52


def safe_bound(program: MixedIntegerProgram, row_dual: np.ndarray, cost: np.ndarray | None = None) -> float:
    """A lower bound on `cost x` over the program's LP relaxation; without its offset, and no matter its hessian.

    Rounded down by more than its own arithmetic can be off, and by what rounding the program's entries can bring where
    they are sums of products that do not cancel almost entirely. -inf where a column without a bound has a reduced cost on that side.

    Args:
        program: rows and column bounds.
        row_dual: any multipliers, (rows,); >= 0 for lower sides, <= 0 for upper ones, as HiGHS gives them.
        cost: (columns,); the program's own where not given.
    """
    cost = program.cost if cost is None else cost
    below, above = np.isfinite(program.row_lower), np.isfinite(program.row_upper)
    y = np.where((row_dual > 0) & below | (row_dual < 0) & above, row_dual, 0.0)
    y = np.where(np.isfinite(y), y, 0.0)
    side = np.where(y > 0, program.row_lower, np.where(y < 0, program.row_upper, 0.0))
    reduced = cost - program.matrix.T @ y
    terms = np.abs(cost) + abs(program.matrix).T @ np.abs(y)  # what the reduced costs are sums of
    share = 8 * (sum(program.matrix.shape) + 64) * _UNIT
    end = np.where(reduced > 0, program.col_lower, np.where(reduced < 0, program.col_upper, 0.0))
    ends = np.abs(np.stack([program.col_lower, program.col_upper]))
    boxed = np.isfinite(ends).all(0)
    certain = np.isfinite(end) & (np.abs(reduced) > share * terms) | (terms == 0)  # rounding changes no sign
    if not (boxed | certain).all():
        return -np.inf
    far = np.where(boxed, ends.max(0), np.abs(end))
    rounding = share * (np.abs(y) @ np.abs(side) + terms @ far)
    return float(y @ side + reduced @ end - rounding)


def safe_optimum(program: MixedIntegerProgram, options: SolveOptions) -> tuple[float, np.ndarray | None]:
    """A lower bound on the optimum of an LP, computed from HiGHS's multipliers, and the best point (columns,).

    inf where those of the elastic form prove that there is no feasible point, -inf where nothing is proved.
    """
    result = Highs().solve(program, options)
    if result.status is SolverStatus.INFEASIBLE:
        elastic = program.elastic()
        second = Highs().solve(elastic, options)
        empty = second.row_dual is not None and safe_bound(elastic, second.row_dual) > 0
        return (np.inf if empty else -np.inf), None
    if result.status is not SolverStatus.OPTIMAL or result.row_dual is None:
        return -np.inf, None
    return safe_bound(program, result.row_dual) + program.offset, result.point
