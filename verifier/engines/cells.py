"""The program of a cell, the inputs that share a point's ReLU pattern, over the inputs alone.

Inside a cell the network is linear, so that what a neuron reads is a linear function of the input. Neurons that are stable in
the region need no row: a network of thousands of ReLUs has a few hundred rows then, where `encode` would write one a neuron.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ..bounds import Bounds
from ..encoding import ColumnMap, MixedIntegerProgram
from ..encoding.objective import encode_distance, limit_distance
from ..encoding.program import ProgramBuilder
from ..network.evaluate import evaluate_all
from ..network.nodes import Affine, Input, Max, Network, Relu
from ..specification import Polytope, Region


def cell_over_inputs(
    network: Network, bounds: Bounds, region: Region, polytope: Polytope, point: np.ndarray, margin: float
) -> MixedIntegerProgram:
    """The nearest unsafe input of a point's cell, as an LP, or for norm 2 a QP, over the input columns.

    Args:
        network: without maxima.
        bounds: valid on the region, batch of one; they say which neurons are stable.
        region: box ∩ ball.
        polytope: of unsafe outputs.
        point: (n,), inside the region.
        margin: subtracted from every unsafe offset, to ask for points strictly inside.

    Raises:
        ValueError: the network has maxima, or the region no ball.
    """
    if region.ball is None:
        raise ValueError("a cell's nearest point needs a ball")
    matrix, constant, sign = _rows(network, bounds, polytope, point)
    neurons = len(sign)
    builder = ProgramBuilder()
    low, high = region.bounding_box()
    inputs = builder.columns(low, high)
    builder.rows(sp.csr_matrix(sign[:, None] * matrix[:neurons]), -sign * constant[:neurons], np.inf)
    limit = polytope.offset - margin - constant[neurons:]
    builder.rows(sp.csr_matrix(matrix[neurons:]), -np.inf, limit)
    distance = encode_distance(builder, inputs, low, high, region.ball)
    limit_distance(builder, distance, region.ball)
    columns = ColumnMap(inputs, distance=distance.column)
    return builder.finish(distance.cost, columns, distance.hessian, distance.offset)


def _rows(
    network: Network, bounds: Bounds, polytope: Polytope, point: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What unstable neurons read, then the polytope's rows, as matrix x + constant; and +1 or -1 for each neuron's phase."""
    with torch.no_grad():
        values = evaluate_all(network, torch.tensor(point, dtype=network.dtype)[None])
    relus = [(i, node.input) for i, node in enumerate(network.nodes) if isinstance(node, Relu)]
    active = {i: values[read][0] > 0 for i, read in relus}
    parts: list[tuple[Tensor, Tensor]] = []
    signs: list[Tensor] = [torch.zeros(0)]
    for i, read in relus:
        unstable = torch.nonzero(bounds[read].unstable[0]).squeeze(-1)
        units = torch.zeros((len(unstable), network.nodes[read].size), dtype=network.dtype)
        units[torch.arange(len(unstable)), unstable] = 1.0
        parts.append(_substituted(network, active, read, units))
        signs.append(torch.where(active[i][unstable], 1.0, -1.0))
    parts.append(_substituted(network, active, network.output, torch.from_numpy(polytope.matrix).to(network.dtype)))
    matrix, constant = (torch.cat(side).double().numpy() for side in zip(*parts, strict=True))
    return matrix, constant, torch.cat(signs).double().numpy()


def _substituted(network: Network, active: Mapping[int, Tensor], node: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Functions `rows` (count, size) of a node's neurons as functions of the inputs: matrix (count, n) and constant (count,)."""
    constant = torch.zeros(len(rows), dtype=rows.dtype)
    pending = {node: rows}
    for i in range(node, 0, -1):
        if i not in pending:
            continue
        row, this = pending.pop(i), network.nodes[i]
        match this:
            case Affine():
                constant = constant + row @ this.bias
                passed = [(j, operator.adjoint(row)) for j, operator in zip(this.inputs, this.operators, strict=True)]
            case Relu():
                passed = [(this.input, row * active[i])]
            case Max() | Input():
                raise ValueError("cells of maxima are not those of ReLUs alone")
            case _:
                assert_never(this)
        for j, part in passed:
            pending[j] = pending[j] + part if j in pending else part
    return pending.get(0, rows.new_zeros((len(rows), network.input_size))), constant
