"""Compiles a query into a mixed-integer program. There is no default M: bounds are demanded, never invented."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import numpy as np

from ..bounds import Bounds
from ..network.nodes import Affine, Input, Max, Network, Relu
from ..norms import UnitBall
from ..query import Objective
from ..specification import Polytope, Region
from .ball import ROUNDING, QuadraticBall
from .expression import Expression, rounded
from .formulations import Formulation
from .objective import Distance, encode_distance, limit_distance
from .piecewise_linear import encode_max, encode_relu
from .program import ColumnMap, MixedIntegerProgram, Preactivation, ProgramBuilder, selection
from .substitution import SubstitutedValues, fitted
from .values import ComposedValues, Values

__all__ = ["encode"]


def encode(
    network: Network,
    bounds: Bounds,
    region: Region,
    unsafe: tuple[Polytope, ...],
    objective: Objective,
    formulation: Formulation | None = None,
    tightening: float = 0.0,
    whole: Bounds | None = None,
    quadratic: bool = False,
) -> MixedIntegerProgram:
    """The program of one region and a union of unsafe polytopes.

    FEASIBILITY has no objective; MIN_DISTORTION minimises the distance (for norm 2 its square); MAX_MARGIN minimises
    the violation v = min over polytopes, max over rows, of C y - d, so that the largest adversarial loss is -v.

    Args:
        network: the network.
        bounds: valid on the region, or for its unsafe inputs, batch of one, for every node of `network.bounded`.
        region: box ∩ ball.
        unsafe: the polytopes; several are chosen among by binaries.
        objective: see above.
        formulation: of the ReLUs; asymmetric big-M where not given.
        tightening: subtracted from every unsafe offset, to ask for points strictly inside.
        whole: bounds that are valid on all of the region, where `bounds` are not: neurons that only the latter call stable
            keep a row that says so. Without it the program would hold inputs at which they are not, as if they were.
        quadratic: whether a ball of norm 2 becomes the program's `ball`; else it is left out, for solvers that take no such
            row. Where the distance is minimised it is left out in any case.
    """
    formulation = fitted(formulation or Formulation(), network, bounds)
    builder = ProgramBuilder()
    low, high = region.bounding_box()
    inputs = builder.columns(low, high, label="x")
    columns = ColumnMap(inputs)
    values: Values
    if formulation.substitute:
        values = SubstitutedValues(network, builder, bounds, region)
    else:
        values = ComposedValues(network, builder)
    values.put(0, inputs)
    readings: list[Preactivation] = []
    for i, node in enumerate(network.nodes):
        match node:
            case Relu():
                sides = _interval(bounds, node.input)
                positive, phase, reading = encode_relu(builder, i, node.input, values, sides, formulation)
                if whole is not None and formulation.fix_stable:
                    _stay_stable(builder, values, node.input, sides, _interval(whole, node.input), formulation)
                columns.positive[i], columns.phase[i] = positive, phase
                readings += reading
                values.put(i, positive)
            case Max():
                lower, upper = _interval(bounds, node.input)
                before = values.take(node.input, np.arange(len(lower)))
                outputs = encode_max(builder, i, before, lower, upper, node.windows.cpu().numpy())
                columns.maximum[i] = outputs
                values.put(i, outputs)
            case Input() | Affine():
                pass  # `values` compose them
            case _:
                assert_never(node)
    distance = Distance()
    if region.ball is not None and (
        objective is Objective.MIN_DISTORTION or region.ball.norm.unit_ball in (UnitBall.COUNT, UnitBall.CROSS_POLYTOPE)
    ):
        distance = encode_distance(builder, inputs, low, high, region.ball)
        limit_distance(builder, distance, region.ball)
    outputs_of = [values.combine(network.output, polytope.matrix) for polytope in unsafe]
    margin = _unsafe(builder, outputs_of, unsafe, objective is Objective.MAX_MARGIN, tightening)
    columns = replace(columns, select=margin.select, distance=distance.column)
    ball = _ball(region, inputs) if quadratic else None
    match objective:
        case Objective.FEASIBILITY:
            return builder.finish({}, columns, preactivations=readings, ball=ball)
        case Objective.MAX_MARGIN:
            return builder.finish({margin.depth: 1.0}, columns, preactivations=readings, ball=ball)
        case Objective.MIN_DISTORTION:
            return builder.finish(distance.cost, columns, distance.hessian, distance.offset, readings)
        case _:
            assert_never(objective)


def _ball(region: Region, inputs: np.ndarray) -> QuadraticBall | None:
    """The ball as a row; None where there is none, or where it holds the whole box."""
    ball = region.ball
    if ball is None or ball.norm.unit_ball is not UnitBall.EUCLIDEAN:
        return None
    low, high = region.bounding_box()
    with np.errstate(over="ignore"):
        farthest = float(np.linalg.norm(np.maximum(np.abs(high - ball.center), np.abs(ball.center - low))))
    if farthest * (1 + ROUNDING) <= ball.radius:
        return None
    return QuadraticBall(inputs, ball.center, ball.radius)


def _interval(bounds: Bounds, node: int) -> tuple[np.ndarray, np.ndarray]:
    interval = bounds[node]
    return interval.lower[0].double().cpu().numpy(), interval.upper[0].double().cpu().numpy()


def _stay_stable(
    builder: ProgramBuilder,
    values: Values,
    read: int,
    sides: tuple[np.ndarray, np.ndarray],
    whole: tuple[np.ndarray, np.ndarray],
    formulation: Formulation,
) -> None:
    """What neurons read keeps the sign that `sides` say although it has another one in parts of the region."""
    inactive = np.flatnonzero((sides[1] <= 0) & (sides[0] < 0) & (whole[1] > 0))
    if len(inactive):
        part = values.take(read, inactive)
        builder.rows(part.matrix, -np.inf, -part.constant, loss=part.loss)
    active = np.flatnonzero((sides[0] >= 0) & (whole[0] < 0))
    if formulation.substitute and len(active):  # else the bound of its column says it
        part = values.take(read, active)
        builder.rows(part.matrix, -part.constant, np.inf, loss=part.loss)


class _Unsafe:
    """Columns that the unsafe set brings: the depth v (MAX_MARGIN) and the binaries that choose a polytope."""

    def __init__(self, depth: int, select: np.ndarray) -> None:
        self.depth, self.select = depth, select


def _unsafe(
    builder: ProgramBuilder,
    outputs: list[Expression],
    unsafe: tuple[Polytope, ...],
    with_depth: bool,
    tightening: float,
) -> _Unsafe:
    """Rows C y - d <= v + M (1 - chosen), with v = 0 unless the depth is the objective; `outputs` is C y of each polytope."""
    ranges = [_range(builder, output, polytope) for output, polytope in zip(outputs, unsafe, strict=True)]
    depth = -1
    if with_depth:
        worst = max(float(np.abs(r).max()) for pair in ranges for r in pair)
        depth = int(builder.columns(np.array([-worst]), np.array([worst]), label="violation")[0])
    select = np.zeros(0, dtype=np.int64)
    if len(unsafe) > 1:
        select = builder.columns(np.zeros(len(unsafe)), np.ones(len(unsafe)), integer=True, label="unsafe")
        row = selection(np.zeros(len(select), dtype=int), select, np.ones(len(select)), (1, builder.count))
        builder.rows(row, 1.0, 1.0, "unsafe")
    floor = min(float(r[0].max()) for r in ranges)  # no chosen polytope can lie deeper than this
    for k, (output, polytope) in enumerate(zip(outputs, unsafe, strict=True)):
        matrix = output.matrix.copy()
        count = len(polytope.offset)
        matrix.resize((count, builder.count))
        limit, big = polytope.offset - tightening - output.constant, np.zeros(count)
        rows = np.arange(count)
        if depth >= 0:
            matrix = matrix - selection(rows, np.full(count, depth), np.ones(count), matrix.shape)
        if len(unsafe) > 1:
            _, high = ranges[k]
            big = np.maximum(high + tightening - (floor if depth >= 0 else 0.0), 0.0)
            matrix = matrix + selection(rows, np.full(count, select[k]), big, matrix.shape)
            limit = limit + big
        loss = output.loss + rounded(polytope.offset, tightening, output.constant, big)
        builder.rows(matrix, -np.inf, limit, f"unsafe{k}", loss=loss)
    return _Unsafe(depth, select)


def _range(builder: ProgramBuilder, output: Expression, polytope: Polytope) -> tuple[np.ndarray, np.ndarray]:
    """Interval of C y - d over the column bounds."""
    constant = output.constant - polytope.offset
    loss = output.loss + rounded(output.constant, polytope.offset)
    lower, upper = builder.sides(output.matrix.shape[1])
    plus, minus = output.matrix.maximum(0), output.matrix.minimum(0)
    return plus @ lower + minus @ upper + constant - loss, plus @ upper + minus @ lower + constant + loss
