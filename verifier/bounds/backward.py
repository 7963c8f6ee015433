"""The one traversal: linear functions of nodes, carried backwards to the input.

Given coefficients on a node, every ReLU and maximum on the way is replaced by the side of its relaxation that keeps
the result a lower bound. Residual sums need no care: coefficients that reach a node along several paths add up, so
a skip connection keeps its dependence on the input (layer-by-layer bounding loses it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

import torch
from torch import Tensor

from ..network.nodes import Affine, Input, Max, Network, Relu
from .relaxation import MaxRelaxation, ReluRelaxation

Relaxation = ReluRelaxation | MaxRelaxation


@dataclass
class LinearForm:
    """coefficients (batch, rows, inputs) times x plus offset (batch, rows): a lower bound on what was asked for.

    `at_relu` holds, when asked for, the coefficients on each ReLU's output, which branching scores are made of.
    """

    coefficients: Tensor
    offset: Tensor
    at_relu: dict[int, Tensor] = field(default_factory=dict)


def backward(
    network: Network,
    start: Mapping[int, Tensor],
    offset: Tensor,
    relaxations: Mapping[int, Relaxation],
    multipliers: Mapping[int, Tensor] | None = None,
    keep_relu: bool = False,
) -> LinearForm:
    """Lower-bound sum over nodes of start[node] times value, plus offset, by a linear function of the input.

    Args:
        network: the network.
        start: coefficients (batch, rows, node size) on some nodes.
        offset: (batch, rows).
        relaxations: of every ReLU and maximum, by node index.
        multipliers: signed Lagrange multipliers (batch, 1 or rows, size) added to the coefficients of what a ReLU
            reads: + beta for a ReLU split inactive (x <= 0), - beta for one split active (Wang et al., beta-CROWN,
            NeurIPS 2021).
        keep_relu: also return the coefficients at each ReLU's output.
    """
    pending: dict[int, Tensor] = dict(start)
    at_relu: dict[int, Tensor] = {}

    def accumulate(node: int, value: Tensor) -> None:
        pending[node] = pending[node] + value if node in pending else value

    for i in range(max(start), 0, -1):
        node = network.nodes[i]
        if i not in pending:
            continue
        weights = pending.pop(i)
        match node:
            case Affine():
                offset = offset + torch.matmul(weights, node.bias)
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    accumulate(j, operator.adjoint(weights))
            case Relu():
                relaxation = relaxations[i]
                assert isinstance(relaxation, ReluRelaxation)
                if keep_relu:
                    at_relu[i] = weights
                negative = weights.clamp(max=0)
                below = weights.clamp(min=0) * relaxation.lower_slope + negative * relaxation.upper_slope
                offset = offset + (negative * relaxation.upper_offset).sum(-1)
                if multipliers is not None and i in multipliers:
                    below = below + multipliers[i]
                accumulate(node.input, below)
            case Max():
                bound = relaxations[i]
                assert isinstance(bound, MaxRelaxation)
                negative = weights.clamp(max=0)
                free = ~bound.dominated.unsqueeze(1)
                offset = offset + torch.where(free, negative * bound.upper.unsqueeze(1), 0.0).sum(-1)
                kept = torch.where(free, weights.clamp(min=0), weights)
                size = network.nodes[node.input].size
                member = bound.lower_member.unsqueeze(1).expand_as(kept)
                zeros = kept.new_zeros((*kept.shape[:-1], size))
                accumulate(node.input, zeros.scatter_add(-1, member, kept))
            case Input():
                raise AssertionError("the input is node 0")
            case _:
                assert_never(node)
    if 0 not in pending:
        rows = offset.shape
        pending[0] = offset.new_zeros((*rows, network.input_size))
    return LinearForm(pending[0], offset, at_relu)
