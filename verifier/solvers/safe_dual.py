"""Lower bounds on LPs that rest on arithmetic alone, whatever the solver that named the multipliers.

Neumaier & Shcherbina, "Safe bounds in linear and mixed-integer linear programming", Mathematical Programming 2004: for
any y, the optimum of min {c x : l <= A x <= u, x in a box} is at least

    sum over rows of min(y l, y u)  +  sum over columns of min over the box of (c - A' y) x,

where a row counts on the side that its multiplier's sign names. Good multipliers make it the optimum; with c = 0 a sum
above 0 says that there is no feasible point (Farkas). A convex quadratic objective with a diagonal hessian h adds h x^2 / 2 to
each column's term, which is still a function of one column. A ball of norm 2 takes a slope g of its own off the reduced costs,
which it bounds by g center - radius |g| (the dual of a second-order cone).
"""

from __future__ import annotations

import numpy as np

from ..encoding import MixedIntegerProgram
from .clarabel import Clarabel
from .highs import Highs
from .protocol import SolveOptions, SolverStatus

_UNIT = 2.0**-52
_TINY = 2.0**-1020  # more than a product that underflows can lose


class SafeDual:
    """Bounds for many multipliers, objectives and column bounds over the rows of one program."""

    def __init__(self, program: MixedIntegerProgram) -> None:
        """Keep the rows, transposed."""
        self._program = program
        self._transposed = program.matrix.T.tocsr()
        self._sizes = abs(self._transposed)
        entries = self._sizes.data[self._sizes.data > 0]
        self._smallest = float(entries.min(initial=np.inf))
        self._below, self._above = np.isfinite(program.row_lower), np.isfinite(program.row_upper)
        self._share = 8 * (sum(program.matrix.shape) + 64) * _UNIT

    def bound(
        self,
        row_dual: np.ndarray,
        cost: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        hessian: np.ndarray | None = None,
        ball_dual: np.ndarray | None = None,
    ) -> float:
        """A lower bound on `cost x` over the rows and `low <= x <= high`, without the program's offset; -inf where none.

        Rounded down by more than its own arithmetic can be off, and by what rounding brought to the program's entries:
        a few units of what they are, and the program's own `loss` where they are sums that may cancel.

        Args:
            row_dual: any multipliers, (rows,); >= 0 for lower sides, <= 0 for upper ones, as HiGHS gives them.
            cost: (columns,).
            low: bounds of the columns.
            high: likewise.
            hessian: its diagonal, (columns,), none of it negative, where `x hessian x / 2` is to be added.
            ball_dual: any slope over the columns of the program's ball, (n,), which the ball bounds and the columns' own
                bounds need not.
        """
        program = self._program
        usable = (row_dual > 0) & self._below | (row_dual < 0) & self._above
        y = np.where(usable & np.isfinite(row_dual), row_dual, 0.0)
        side = np.where(y > 0, program.row_lower, np.where(y < 0, program.row_upper, 0.0))
        with np.errstate(over="ignore", invalid="ignore"):
            reduced = cost - self._transposed @ y
            terms = np.abs(cost) + self._sizes @ np.abs(y)
            curve = 0.0
            if program.ball is not None and ball_dual is not None and np.isfinite(ball_dual).all():
                reduced[program.ball.columns] -= ball_dual
                terms[program.ball.columns] += np.abs(ball_dual)
                curve = program.ball.least(ball_dual)
            # terms are what the reduced costs are sums of
            doubt = self._share * terms  # how far rounding can have moved them
            if self._smallest * float(np.abs(y[y != 0]).min(initial=np.inf)) < 2 * _TINY:  # products may underflow
                doubt = doubt + _TINY * ((self._sizes > 0).astype(np.float64) @ (y != 0).astype(np.float64))
            sides = self._share * (np.abs(y) @ np.abs(side)) + _TINY * len(y)
            if program.loss is not None:
                doubt = doubt + (program.loss.T @ np.abs(y)) * (1 + 1e-9)
            if program.row_loss is not None:
                sides += float(np.abs(y) @ program.row_loss) * (1 + 1e-9)
            end = np.where(reduced > 0, low, np.where(reduced < 0, high, 0.0))
            ends = np.abs(np.stack([low, high]))
            boxed = np.isfinite(ends).all(0)
            certain = np.isfinite(end) & (np.abs(reduced) > doubt) | (terms == 0) & (doubt == 0)  # of one sign
            if not (boxed | certain).all():
                return -np.inf
            far = np.where(boxed, ends.max(0), np.abs(end))
            # the sums below round as well: terms is at least the reduced cost, so that their share covers both
            rounding = sides + doubt @ far + self._share * (terms @ far) + _TINY * len(far)
            values = reduced * end
            if hessian is not None:
                curved = hessian > 0
                if not boxed[curved].all():
                    return -np.inf
                values = np.where(curved, _parabola(reduced, hessian, low, high), values)
                rounding += self._share * float((hessian * far * far).sum())
            rounding += self._share * abs(curve)
            bound = float(y @ side + curve + values.sum() - rounding)
        return bound if np.isfinite(bound) else -np.inf


def _parabola(slope: np.ndarray, hessian: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The least value of slope x + hessian x^2 / 2 on [low, high], up to a few roundings of its terms.

    Where rounding mistakes an apex just inside for one at a side, the value is off by the square of that rounding only.
    """
    curved = np.maximum(hessian, 1e-300)
    apex = -slope / curved
    end = np.clip(apex, low, high)
    inside = (apex > low) & (apex < high)
    return np.asarray(np.where(inside, -slope * slope / (2 * curved), slope * end + hessian * end * end / 2))


def safe_bound(program: MixedIntegerProgram, row_dual: np.ndarray, cost: np.ndarray | None = None) -> float:
    """A lower bound on `cost x` (the program's own where not given) over its LP relaxation; without its offset.

    See `SafeDual.bound`; a hessian, if there is one, only adds to it.
    """
    cost = program.cost if cost is None else cost
    return SafeDual(program).bound(row_dual, cost, program.col_lower, program.col_upper)


def safe_optimum(program: MixedIntegerProgram, options: SolveOptions) -> tuple[float, np.ndarray | None]:
    """A lower bound on the optimum of an LP or a convex QP, in a ball or not, from a solver's multipliers, and the best point (columns,).

    inf where those of the elastic form (or a ray, where it is no LP) prove that there is no feasible point, -inf where nothing
    is proved.
    """
    if program.ball is not None or program.hessian is not None:
        return _safe_convex_optimum(program, options)
    result = Highs().solve(program, options)
    if result.status is SolverStatus.INFEASIBLE:
        elastic = program.elastic()
        second = Highs().solve(elastic, options)
        empty = second.row_dual is not None and safe_bound(elastic, second.row_dual) > 0
        return (np.inf if empty else -np.inf), None
    if result.status is not SolverStatus.OPTIMAL or result.row_dual is None:
        return -np.inf, None
    return safe_bound(program, result.row_dual) + program.offset, result.point


def _safe_convex_optimum(program: MixedIntegerProgram, options: SolveOptions) -> tuple[float, np.ndarray | None]:
    result, low, high = Clarabel().solve(program, options), program.col_lower, program.col_upper
    if result.row_dual is None:
        return -np.inf, result.point
    safe = SafeDual(program)
    if result.status is SolverStatus.INFEASIBLE:
        ray = safe.bound(result.row_dual, np.zeros(len(program.cost)), low, high, ball_dual=result.ball_dual)
        return (np.inf if ray > 0 else -np.inf), None
    bound = safe.bound(result.row_dual, program.cost, low, high, program.hessian, result.ball_dual)
    return bound + program.offset, result.point
