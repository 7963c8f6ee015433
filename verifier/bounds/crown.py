"""CROWN: intervals first, then a backward pass for every neuron whose sign is still open.

Zhang et al., "Efficient Neural Network Robustness Certification with General Activation Functions", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..network.nodes import Affine, Max, Network, Relu
from .backward import LinearForm, Relaxation, backward
from .bounds import Bounds, Interval
from .ibp import forward_interval
from .inputs import InputSet
from .relaxation import relax_max, relax_relu

MEMORY_ENTRIES = 1 << 24  # largest coefficient tensor of one backward pass: 128 MiB in float64


def relaxations(network: Network, bounds: Bounds, upto: int | None = None) -> dict[int, Relaxation]:
    """Default relaxations of every ReLU and maximum before node `upto`."""
    result: dict[int, Relaxation] = {}
    for i, node in enumerate(network.nodes[:upto]):
        if isinstance(node, Relu):
            result[i] = relax_relu(bounds[node.input])
        elif isinstance(node, Max):
            result[i] = relax_max(bounds[node.input], node.windows)
    return result


def crown(network: Network, inputs: InputSet, known: Bounds | None = None) -> Bounds:
    """Bounds of every node that a ReLU or a maximum reads: intervals intersected with CROWN, and with what is known."""
    values: list[Interval] = []
    found: dict[int, Interval] = {}
    relaxed: dict[int, Relaxation] = {}
    wanted = set(network.bounded)
    for i, node in enumerate(network.nodes):
        interval = forward_interval(node, values, inputs)
        if known is not None and i in known:
            interval = interval.intersect(known[i])
        if i in wanted:
            exact = inputs.is_box and isinstance(node, Affine) and node.inputs == (0,)
            if isinstance(node, Affine) and not exact:
                interval = _tighten(network, inputs, i, interval, relaxed)
            found[i] = interval
        if isinstance(node, Relu):
            relaxed[i] = relax_relu(found[node.input])
        elif isinstance(node, Max):
            relaxed[i] = relax_max(found[node.input], node.windows)
        values.append(interval)
    return Bounds(found, "crown")


def _tighten(
    network: Network, inputs: InputSet, node: int, interval: Interval, relaxed: Mapping[int, Relaxation]
) -> Interval:
    """Backward passes for the neurons of a node that are open in at least one member of the batch."""
    feeds_max = any(isinstance(n, Max) and n.input == node for n in network.nodes)
    open_ = torch.ones_like(interval.lower, dtype=torch.bool) if feeds_max else interval.unstable
    most = int(open_.sum(-1).max())
    if most == 0:
        return interval
    order = open_.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[
        :, :most
    ]  # open ones first, then padding
    lower, upper = interval.lower.clone(), interval.upper.clone()
    batch = len(inputs)
    largest = max(n.size for n in network.nodes[: node + 1])
    chunk = max(1, MEMORY_ENTRIES // (2 * batch * largest))
    for begin in range(0, most, chunk):
        index = order[:, begin : begin + chunk]
        rows = start_rows(network, node, index)
        form = backward(
            network,
            {j: torch.cat([w, -w], 1) for j, w in rows.weights.items()},
            torch.cat([rows.offset, -rows.offset], 1),
            relaxed,
        )
        values = inputs.minimum(form.coefficients, form.offset)
        count = index.shape[1]
        lower.scatter_(1, index, torch.maximum(lower.gather(1, index), values[:, :count]))
        upper.scatter_(1, index, torch.minimum(upper.gather(1, index), -values[:, count:]))
    return interval.intersect(Interval(lower, upper))


class StartRows:
    """Some neurons of an affine node as linear functions of the nodes that it reads."""

    def __init__(self, weights: dict[int, Tensor], offset: Tensor) -> None:
        """`weights`: node -> (batch, rows, size); `offset`: (batch, rows)."""
        self.weights, self.offset = weights, offset


def start_rows(network: Network, node: int, index: Tensor) -> StartRows:
    """The neurons `index` (batch, rows) of a node, one step back where the node is affine."""
    from ..network.operators import Dense

    target = network.nodes[node]
    one_hot: Tensor | None = None
    if not isinstance(target, Affine):
        one_hot = torch.zeros((*index.shape, target.size), dtype=network.dtype, device=index.device)
        one_hot.scatter_(-1, index.unsqueeze(-1), 1.0)
        return StartRows({node: one_hot}, torch.zeros(index.shape, dtype=network.dtype, device=index.device))
    weights: dict[int, Tensor] = {}
    for j, operator in zip(target.inputs, target.operators, strict=True):
        if isinstance(operator, Dense) and operator.repeat == 1:
            value = operator.weight[index]
        else:
            if one_hot is None:
                one_hot = torch.zeros((*index.shape, target.size), dtype=network.dtype, device=index.device)
                one_hot.scatter_(-1, index.unsqueeze(-1), 1.0)
            value = operator.adjoint(one_hot)
        weights[j] = weights[j] + value if j in weights else value
    return StartRows(weights, target.bias[index])


def output_form(network: Network, rows: Tensor, offset: Tensor, bounds: Bounds, keep_relu: bool = False) -> LinearForm:
    """Linear lower bound on rows (batch, count, outputs) times output plus offset (batch, count)."""
    return backward(network, {network.output: rows}, offset, relaxations(network, bounds), keep_relu=keep_relu)


def output_lower_bounds(network: Network, inputs: InputSet, rows: Tensor, offset: Tensor, bounds: Bounds) -> Tensor:
    """Lower bounds (batch, count) of rows times output plus offset over each region."""
    form = output_form(network, rows, offset, bounds)
    return inputs.minimum(form.coefficients, form.offset)
