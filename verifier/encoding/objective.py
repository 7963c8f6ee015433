"""Distances as columns and rows: the objective of minimal distortion, or a ball around the center."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
import scipy.sparse as sp

from ..norms import UnitBall
from ..norms.l0 import L0
from ..specification import NormBall
from .program import ProgramBuilder, selection


@dataclass
class Distance:
    """The distance from the center as `cost` over columns, plus `hessian` for norm 2 (then the cost is squared).

    `column` is the column that holds the distance (norm inf), else -1.
    """

    cost: dict[int, float] = field(default_factory=dict)
    hessian: dict[int, float] = field(default_factory=dict)
    offset: float = 0.0
    column: int = -1


def encode_distance(
    builder: ProgramBuilder, inputs: np.ndarray, lower: np.ndarray, upper: np.ndarray, ball: NormBall
) -> Distance:
    """Write the distance of the input columns from the ball's center."""
    center, n = ball.center, len(inputs)
    rows = np.arange(n)
    match ball.norm.unit_ball:
        case UnitBall.BOX:
            reach = float(np.maximum(upper - center, center - lower).max(initial=0.0))
            t = builder.columns(np.zeros(1), np.array([max(reach, 0.0)]), label="distance")[0]
            x = selection(rows, inputs, np.ones(n), (n, builder.count))
            column = selection(rows, np.full(n, t), np.ones(n), (n, builder.count))
            builder.rows(x - column, -np.inf, center, "above")
            builder.rows(x + column, center, np.inf, "below")
            return Distance({int(t): 1.0}, column=int(t))
        case UnitBall.CROSS_POLYTOPE:
            more = builder.columns(np.zeros(n), np.maximum(upper - center, 0.0), label="more")
            less = builder.columns(np.zeros(n), np.maximum(center - lower, 0.0), label="less")
            shape = (n, builder.count)
            x = selection(rows, inputs, np.ones(n), shape)
            moved = selection(rows, more, np.ones(n), shape) - selection(rows, less, np.ones(n), shape)
            builder.rows(x - moved, center, center, "moved")
            return Distance({int(c): 1.0 for c in (*more, *less)})
        case UnitBall.EUCLIDEAN:
            cost = {int(c): -2.0 * float(v) for c, v in zip(inputs, center, strict=True)}
            return Distance(cost, {int(c): 2.0 for c in inputs}, float(center @ center))
        case UnitBall.COUNT:
            assert isinstance(ball.norm, L0)
            pixels = n // ball.norm.channels
            changed = builder.columns(np.zeros(pixels), np.ones(pixels), integer=True, label="changed")
            owner = np.tile(changed, ball.norm.channels)
            shape = (n, builder.count)
            x = selection(rows, inputs, np.ones(n), shape)
            above = x - selection(rows, owner, np.maximum(upper - center, 0.0), shape)
            below = x + selection(rows, owner, np.maximum(center - lower, 0.0), shape)
            builder.rows(above, -np.inf, center, "above")
            builder.rows(below, center, np.inf, "below")
            return Distance({int(c): 1.0 for c in changed})
        case _:
            assert_never(ball.norm.unit_ball)


def limit_distance(builder: ProgramBuilder, distance: Distance, ball: NormBall) -> None:
    """Keep the distance within the radius. Norm 2 is left to the caller: a linear program has no quadratic rows."""
    if ball.norm.unit_ball is UnitBall.EUCLIDEAN or not np.isfinite(ball.radius):
        return
    columns = np.array(sorted(distance.cost), dtype=np.int64)
    values = np.array([distance.cost[int(c)] for c in columns])
    row = sp.csr_matrix((values, (np.zeros(len(columns), dtype=int), columns)), shape=(1, builder.count))
    builder.rows(row, -np.inf, float(ball.radius), "ball")
