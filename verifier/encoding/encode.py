"""Compiles a query into a mixed-integer program. There is no default M: bounds are demanded, never invented."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import numpy as np
import scipy.sparse as sp

from ..bounds import Bounds
from ..network.nodes import Affine, Input, Max, Network, Relu
from ..norms import UnitBall
from ..query import Objective
from ..specification import Polytope, Region
from .expression import Expression
from .formulations import Formulation
from .objective import Distance, encode_distance, limit_distance
from .piecewise_linear import encode_max, encode_relu
from .program import ColumnMap, MixedIntegerProgram, ProgramBuilder, selection

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
) -> MixedIntegerProgram:
    """The program of one region and a union of unsafe polytopes.

    FEASIBILITY has no objective; MIN_DISTORTION minimises the distance (for norm 2 its square); MAX_MARGIN minimises
    the violation v = min over polytopes, max over rows, of C y - d, so that the largest adversarial loss is -v.

    Args:
        network: the network.
        bounds: valid on the region, or for its unsafe inputs, batch of one, for every node of `network.bounded`.
        region: box ∩ ball; a ball of norm 2 is not written as a constraint (solvers add its tangents).
        unsafe: the polytopes; several are chosen among by binaries.
        objective: see above.
        formulation: of the ReLUs; asymmetric big-M where not given.
        tightening: subtracted from every unsafe offset, to ask for points strictly inside.
        whole: bounds that are valid on all of the region, where `bounds` are not: neurons that only the latter call inactive
            keep a row that says so. Without it the program would hold inputs at which they are active, as if they were not.
    """
    formulation = formulation or Formulation()
    builder = ProgramBuilder()
    low, high = region.bounding_box()
    inputs = builder.columns(low, high, label="x")
    columns = ColumnMap(inputs)
    values: list[Expression] = []
    for i, node in enumerate(network.nodes):
        match node:
            case Input():
                values.append(_columns_as_expression(builder, inputs))
            case Affine():
                values.append(_affine(builder, node, values))
            case Relu():
                lower, upper = _interval(bounds, node.input)
                positive, phase = encode_relu(builder, i, values[node.input], lower, upper, formulation)
                if whole is not None and formulation.fix_stable:
                    _stay_inactive(builder, values[node.input], (upper <= 0) & (_interval(whole, node.input)[1] > 0))
                columns.positive[i], columns.phase[i] = positive, phase
                values.append(_columns_as_expression(builder, positive))
            case Max():
                lower, upper = _interval(bounds, node.input)
                outputs = encode_max(builder, i, values[node.input], lower, upper, node.windows.cpu().numpy())
                columns.maximum[i] = outputs
                values.append(_columns_as_expression(builder, outputs))
            case _:
                assert_never(node)
    distance = Distance()
    if region.ball is not None and (
        objective is Objective.MIN_DISTORTION or region.ball.norm.unit_ball in (UnitBall.COUNT, UnitBall.CROSS_POLYTOPE)
    ):
        distance = encode_distance(builder, inputs, low, high, region.ball)
        limit_distance(builder, distance, region.ball)
    margin = _unsafe(builder, values[-1], unsafe, objective is Objective.MAX_MARGIN, tightening)
    columns = replace(columns, select=margin.select, distance=distance.column)
    match objective:
        case Objective.FEASIBILITY:
            return builder.finish({}, columns)
        case Objective.MAX_MARGIN:
            return builder.finish({margin.depth: 1.0}, columns)
        case Objective.MIN_DISTORTION:
            return builder.finish(distance.cost, columns, distance.hessian, distance.offset)
        case _:
            assert_never(objective)


def _interval(bounds: Bounds, node: int) -> tuple[np.ndarray, np.ndarray]:
    interval = bounds[node]
    return interval.lower[0].double().cpu().numpy(), interval.upper[0].double().cpu().numpy()


def _stay_inactive(builder: ProgramBuilder, read: Expression, chosen: np.ndarray) -> None:
    """What the chosen neurons read is at most 0."""
    part = read.take(np.flatnonzero(chosen))
    builder.rows(part.matrix, -np.inf, -part.constant)


def _columns_as_expression(builder: ProgramBuilder, columns: np.ndarray) -> Expression:
    present = np.flatnonzero(columns >= 0)
    matrix = selection(present, columns[present], np.ones(len(present)), (len(columns), builder.count))
    return Expression(matrix, np.zeros(len(columns)))


def _affine(builder: ProgramBuilder, node: Affine, values: list[Expression]) -> Expression:
    matrix = sp.csr_matrix((node.size, builder.count))
    constant = node.bias.double().cpu().numpy().copy()
    for j, operator in zip(node.inputs, node.operators, strict=True):
        weight = operator.to_sparse()
        part = weight @ values[j].matrix
        part.resize((node.size, builder.count))
        matrix = matrix + part
        constant = constant + weight @ values[j].constant
    return Expression(sp.csr_matrix(matrix), constant)


class _Unsafe:
    """Columns that the unsafe set brings: the depth v (MAX_MARGIN) and the binaries that choose a polytope."""

    def __init__(self, depth: int, select: np.ndarray) -> None:
        self.depth, self.select = depth, select


def _unsafe(
    builder: ProgramBuilder, output: Expression, unsafe: tuple[Polytope, ...], with_depth: bool, tightening: float
) -> _Unsafe:
    """Rows C y - d <= v + M (1 - chosen), with v = 0 unless the depth is the objective."""
    ranges = [_range(builder, output, polytope) for polytope in unsafe]
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
    for k, polytope in enumerate(unsafe):
        matrix = sp.csr_matrix(sp.csr_matrix(polytope.matrix) @ output.matrix)
        count = len(polytope.offset)
        matrix.resize((count, builder.count))
        limit = polytope.offset - tightening - polytope.matrix @ output.constant
        rows = np.arange(count)
        if depth >= 0:
            matrix = matrix - selection(rows, np.full(count, depth), np.ones(count), matrix.shape)
        if len(unsafe) > 1:
            _, high = ranges[k]
            big = np.maximum(high + tightening - (floor if depth >= 0 else 0.0), 0.0)
            matrix = matrix + selection(rows, np.full(count, select[k]), big, matrix.shape)
            limit = limit + big
        builder.rows(matrix, -np.inf, limit, f"unsafe{k}")
    return _Unsafe(depth, select)


def _range(builder: ProgramBuilder, output: Expression, polytope: Polytope) -> tuple[np.ndarray, np.ndarray]:
    """Interval of C y - d over the column bounds."""
    matrix = sp.csr_matrix(sp.csr_matrix(polytope.matrix) @ output.matrix)
    constant = polytope.matrix @ output.constant - polytope.offset
    lower, upper = builder.sides(matrix.shape[1])
    plus, minus = matrix.maximum(0), matrix.minimum(0)
    return plus @ lower + minus @ upper + constant, plus @ upper + minus @ lower + constant
