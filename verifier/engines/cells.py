"""The program of a cell, the inputs that share a point's ReLU pattern, over the inputs alone.

Inside a cell the network is linear, so that what a neuron reads is a linear function of the input. Neurons that are stable in
the region need no row: a network of thousands of ReLUs has a few hundred rows then, where `encode` would write one a neuron.
"""

from __future__ import annotations

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

_ROWS = 64  # of the Jacobian, computed together


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
    matrix, constant, sign = _linear(network, bounds, polytope, point)
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


def _linear(
    network: Network, bounds: Bounds, polytope: Polytope, point: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What unstable neurons read, then the polytope's rows, as matrix x + constant; and +1 or -1 for each neuron's phase."""
    x = torch.tensor(point, dtype=network.dtype)[None]
    with torch.no_grad():
        actual = evaluate_all(network, x)
    x = x.requires_grad_(True)
    values: list[Tensor] = []
    read: list[Tensor] = []
    signs: list[Tensor] = []
    for node in network.nodes:
        match node:
            case Input():
                values.append(x)
            case Affine():
                total = node.bias[None]
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    total = total + operator.apply(values[j])
                values.append(total)
            case Relu():
                active = actual[node.input] > 0
                values.append(values[node.input] * active)
                unstable = bounds[node.input].unstable[0]
                read.append(values[node.input][0, unstable])
                signs.append(torch.where(active[0, unstable], 1.0, -1.0))
            case Max():
                raise ValueError("cells of maxima are not those of ReLUs alone")
            case _:
                assert_never(node)
    rows = torch.from_numpy(polytope.matrix).to(network.dtype) @ values[-1][0]
    everything = torch.cat([*read, rows])
    identity = torch.eye(len(everything), dtype=network.dtype)
    parts = [
        torch.autograd.grad(everything, x, chunk, retain_graph=True, is_grads_batched=True)[0][:, 0]
        for chunk in identity.split(_ROWS)
    ]
    matrix = torch.cat(parts).double().numpy()
    constant = everything.detach().double().numpy() - matrix @ point
    return matrix, constant, torch.cat([torch.zeros(0), *signs]).double().numpy()
