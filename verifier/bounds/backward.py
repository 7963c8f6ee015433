"""The one traversal: linear functions of nodes, carried backwards to the input (and values of the relaxation forwards).

Given coefficients on a node, every ReLU and maximum on the way is replaced by the side of its relaxation that keeps
the result a lower bound. Residual sums need no care: coefficients that reach a node along several paths add up, so
a skip connection keeps its dependence on the input (layer-by-layer bounding loses it).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import assert_never

import torch
from torch import Tensor

from ..network.nodes import Affine, Input, Max, Network, Relu
from ..network.operators import Dense
from .products import inner
from .relaxation import MaxRelaxation, ReluRelaxation
from .rounding import BLOCK, Losses, lost

_FEW_BLOCKS = 8  # up to so many, one product a block is faster than one for all

Relaxation = ReluRelaxation | MaxRelaxation


@dataclass
class LinearForm:
    """coefficients (batch, rows, inputs) times x plus offset (batch, rows): a lower bound on what was asked for.

    `at_output` holds, when asked for, the coefficients on the output of each ReLU and maximum: gradients and branching
    scores are made of them. `touched` holds where ReLUs with balls meet their lines. For inputs within r of the center of a
    ball of radius R the bound is higher by `bend` (batch, rows) times R^2 - r^2.
    """

    coefficients: Tensor
    offset: Tensor
    at_output: dict[int, Tensor] = field(default_factory=dict)
    tangent_point: dict[int, Tensor] = field(default_factory=dict)
    bend: Tensor | None = None


@dataclass(frozen=True)
class Start:
    """What is to be bounded: the sum over nodes of weights[node] (batch, rows, size) times value, plus offset."""

    weights: Mapping[int, Tensor]
    offset: Tensor

    @classmethod
    def output(cls, network: Network, rows: Tensor, offset: Tensor) -> Start:
        """Rows (batch, rows, outputs) times the output plus offset (batch, rows)."""
        return cls({network.output: rows.to(network.dtype)}, offset.to(torch.float64))

    def select(self, index: Tensor) -> Start:
        """Some of the batch, repeated or reordered."""
        return Start({j: w[index] for j, w in self.weights.items()}, self.offset[index])

    def to(self, dtype: torch.dtype) -> Start:
        """The same in another precision."""
        return Start({j: w.to(dtype) for j, w in self.weights.items()}, self.offset.to(dtype))


def lower_and_upper(network: Network, node: int, index: Tensor, loss: Tensor) -> Start:
    """The neurons `index` (batch, rows) of a node, and in the second half of the rows their negatives.

    Where the node is affine they start one step back; `loss` (batch, size) is what rounding may have cost there.
    """
    target = network.nodes[node]
    weights: dict[int, Tensor] = {}
    offset = torch.zeros(index.shape, dtype=torch.float64, device=index.device)
    if isinstance(target, Affine):
        one_hot: Tensor | None = None
        for j, operator in zip(target.inputs, target.operators, strict=True):
            if isinstance(operator, Dense) and operator.repeat == 1:
                value = operator.weight[index]
            else:
                one_hot = _one_hot(network, node, index) if one_hot is None else one_hot
                value = operator.adjoint(one_hot)
            weights[j] = weights[j] + value if j in weights else value
        offset = target.bias[index].to(torch.float64)
    else:
        weights[node] = _one_hot(network, node, index)
    less = loss.expand(len(index), -1).gather(1, index).to(torch.float64)
    return Start({j: torch.cat([w, -w], 1) for j, w in weights.items()}, torch.cat([offset - less, -offset - less], 1))


def _one_hot(network: Network, node: int, index: Tensor) -> Tensor:
    rows = torch.zeros((*index.shape, network.nodes[node].size), dtype=network.dtype, device=index.device)
    return rows.scatter_(-1, index.unsqueeze(-1), 1.0)


def backward(
    network: Network,
    start: Start,
    relaxations: Mapping[int, Relaxation],
    multipliers: Mapping[int, Tensor] | None = None,
    keep_outputs: bool = False,
    losses: Losses | None = None,
) -> LinearForm:
    """Lower-bound linear functions of nodes by linear functions of the input.

    Args:
        network: the network.
        start: the functions.
        relaxations: of every ReLU and maximum, by node index.
        multipliers: signed Lagrange multipliers (batch, 1 or rows, size) added to the coefficients of what a ReLU
            reads: + beta for a ReLU split inactive (x <= 0), - beta for one split active (Wang et al., beta-CROWN,
            NeurIPS 2021).
        keep_outputs: also return the coefficients at the outputs of ReLUs and maxima.
        losses: with them the result holds in spite of rounding, and `start` must have a float64 offset.
    """
    pending: dict[int, Tensor] = dict(start.weights)
    offset, magnitude = start.offset, start.offset.abs()
    at_output: dict[int, Tensor] = {}
    tangent_point: dict[int, Tensor] = {}
    bend: Tensor | None = None

    def accumulate(node: int, value: Tensor) -> None:
        pending[node] = pending[node] + value if node in pending else value

    for i in range(max(pending), 0, -1):
        node = network.nodes[i]
        if i not in pending:
            continue
        weights = pending.pop(i)
        if losses is not None:
            loss = lost(weights, losses[i]).to(offset.dtype)
            magnitude = magnitude + offset.abs() + loss
            offset = offset - loss
        if keep_outputs and isinstance(node, Relu | Max):
            at_output[i] = weights
        match node:
            case Affine():
                offset = offset + _inner(weights, node.bias, offset.dtype)
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    accumulate(j, operator.adjoint(weights))
            case Relu():
                relaxation = relaxations[i]
                assert isinstance(relaxation, ReluRelaxation)
                below = weights * torch.where(weights < 0, relaxation.upper_slope, relaxation.lower_slope)
                lines = _intercepts(weights, relaxation.upper_offset, offset.dtype)
                if multipliers is not None and i in multipliers:
                    below = below + multipliers[i]
                    if losses is not None:
                        offset = offset - lost(multipliers[i], losses[i])
                if relaxation.ball is not None:
                    together, bent, point = relaxation.ball.offset(weights, below)
                    better = together > lines
                    bent = torch.where(better, bent, 0.0)
                    bend = bent if bend is None else bend + bent
                    lines = torch.where(better, together.to(lines.dtype), lines)
                    if keep_outputs:
                        tangent_point[i] = _tangent_points(weights, relaxation, better, point)
                offset = offset + lines
                accumulate(node.input, below)
            case Max():
                bound = relaxations[i]
                assert isinstance(bound, MaxRelaxation)
                negative = weights.clamp(max=0)
                free = ~bound.dominated.unsqueeze(1)
                constant = torch.where(free, negative, 0.0)
                offset = offset + _inner(constant, bound.upper.unsqueeze(1), offset.dtype)
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
    if losses is not None:
        offset = offset - magnitude * (4 * len(network.nodes) * torch.finfo(offset.dtype).eps)
        offset = offset - losses.floor.unsqueeze(1)
    return LinearForm(pending[0], offset, at_output, tangent_point, bend)


def _inner(weights: Tensor, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Inner products along the last axis; in low precision only over blocks of `BLOCK`, from there on in `dtype`."""
    if values.dim() > 2 and values.shape[1] > 1:  # a vector for every row
        return (weights * values).sum(-1, dtype=dtype)
    vectors = values.unsqueeze(0) if values.dim() == 1 else values.squeeze(1)
    if weights.dtype == dtype:
        return inner(weights, vectors)
    size = weights.shape[-1]
    if size <= _FEW_BLOCKS * BLOCK:
        blocks = zip(weights.split(BLOCK, -1), vectors.split(BLOCK, -1), strict=True)
        return torch.stack([inner(rows, part).to(dtype) for rows, part in blocks]).sum(0)
    block = next(m for m in range(BLOCK, 0, -1) if size % m == 0)
    if block < 8 or len(vectors) > 1:
        return (weights * vectors.unsqueeze(1)).sum(-1, dtype=dtype)
    parts = torch.einsum("...km,km->...k", weights.unflatten(-1, (-1, block)), vectors[0].unflatten(0, (-1, block)))
    return parts.sum(-1, dtype=dtype)


def _intercepts(weights: Tensor, offset: Tensor, dtype: torch.dtype) -> Tensor:
    """What the upper lines' offsets (batch, 1 or rows, size) add; stable ReLUs have none and are left out."""
    columns = torch.nonzero((offset != 0).flatten(0, -2).any(0)).squeeze(-1)
    if len(columns) == 0:
        return weights.new_zeros(weights.shape[:-1], dtype=dtype)
    if 2 * len(columns) < weights.shape[-1]:
        weights, offset = weights[..., columns], offset[..., columns]
    return _inner(weights.clamp(max=0), offset, dtype)


def _tangent_points(weights: Tensor, relaxation: ReluRelaxation, better: Tensor, point: Tensor) -> Tensor:
    """Where each ReLU meets the line that stands for it, (batch, rows, size): 0, the upper bound, or a point of the ball."""
    assert relaxation.ball is not None
    result = torch.zeros_like(weights)
    ball = relaxation.ball
    from_above = (weights[..., ball.columns] < 0) & (ball.lower < 0)
    own = torch.where(from_above, ball.upper.to(weights.dtype).clamp(min=0), 0.0)
    result[..., ball.columns] = torch.where(better.unsqueeze(-1), point.to(weights.dtype), own)
    return result


def relaxed_forward(
    network: Network,
    point: Tensor,
    relaxations: Mapping[int, Relaxation],
    form: LinearForm,
    wanted: Collection[int],
) -> dict[int, Tensor]:
    """Values (batch, rows, size) of the nodes `wanted` in the relaxed network at the points where bounds are attained.

    Every ReLU and maximum takes the side of its relaxation that `backward` took; the value of a node is then the
    derivative of the bound with respect to the coefficients that arrive there.

    Args:
        network: the network.
        point: (batch, rows, inputs), one for each bound.
        relaxations: as handed to `backward`.
        form: what `backward` came to, with its coefficients kept.
        wanted: nodes.
    """
    values: dict[int, Tensor] = {0: point}
    for i in range(1, max(wanted, default=0) + 1):
        node = network.nodes[i]
        match node:
            case Affine():
                total = node.bias
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    total = total + operator.apply(values[j])
                values[i] = total
            case Relu():
                relaxation = relaxations[i]
                assert isinstance(relaxation, ReluRelaxation)
                before = values[node.input]
                slope = relaxation.lower_slope
                if i in form.tangent_point:
                    slope = torch.where(form.at_output[i] < 0, relaxation.upper_slope, slope)
                    values[i] = slope * (before - form.tangent_point[i]) + form.tangent_point[i].clamp(min=0)
                    continue
                below = slope * before
                if i in form.at_output:
                    above = relaxation.upper_slope * before + relaxation.upper_offset
                    below = torch.where(form.at_output[i] < 0, above, below)
                values[i] = below
            case Max():
                bound = relaxations[i]
                assert isinstance(bound, MaxRelaxation)
                before = values[node.input]
                member = bound.lower_member.unsqueeze(1).expand(*before.shape[:-1], -1)
                picked = before.gather(-1, member)
                if i in form.at_output:
                    constant = (form.at_output[i] < 0) & ~bound.dominated.unsqueeze(1)
                    picked = torch.where(constant, bound.upper.unsqueeze(1), picked)
                values[i] = picked
            case Input():
                raise AssertionError("the input is node 0")
            case _:
                assert_never(node)
    return {i: values[i] for i in wanted}
