"""CROWN: intervals first, then a backward pass for every neuron whose sign is still open.

Zhang et al., "Efficient Neural Network Robustness Certification with General Activation Functions", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..deadline import check
from ..network.nodes import Affine, Max, Network, Relu
from .backward import LinearForm, Relaxation, Start, backward, lower_and_upper
from .bounds import Bounds, Interval
from .forward import ForwardBands
from .ibp import forward_interval
from .inputs import InputSet
from .receptive_field import receptive_field_of
from .relaxation import relax_max, relax_relu
from .rounding import Losses, RoundingLoss

MEMORY_ENTRIES = 1 << 24  # largest coefficient tensor of one backward pass: 128 MiB in float64
_FORWARD_INPUTS = 20  # up to so many inputs, forward linear bounds cost next to nothing
_GROUP = 128  # members of a batch that are bounded together


def relaxations(
    network: Network, bounds: Bounds, upto: int | None = None, inputs: InputSet | None = None
) -> dict[int, Relaxation]:
    """Default relaxations of every ReLU and maximum before node `upto`, with the balls that `inputs` know of."""
    result: dict[int, Relaxation] = {}
    for i, node in enumerate(network.nodes[:upto]):
        if isinstance(node, Relu):
            ball = None if inputs is None else inputs.ball(node.input)
            result[i] = relax_relu(bounds[node.input], network.dtype, ball)
        elif isinstance(node, Max):
            result[i] = relax_max(bounds[node.input], node.windows, network.dtype)
    return result


def crown(
    network: Network,
    inputs: InputSet,
    known: Bounds | None = None,
    losses: Losses | None = None,
    splits: bool = False,
    parted: Tensor | None = None,
) -> Bounds:
    """CROWN bounds every node that a ReLU or a maximum reads, layer by layer; intersected with intervals and known bounds.

    Source: Zhang et al., "Efficient Neural Network Robustness Certification with General Activation Functions", 2018.

    Args:
        network: the network.
        inputs: regions.
        known: bounds that hold already.
        losses: those of these regions or of larger ones; computed where not given.
        splits: the known bounds are CROWN's on the same regions, cut by splits; affine functions of the input keep them.
        parted: (batch / 2,) for members 2k and 2k + 1 that differ in the phase of one ReLU alone, the node that it reads:
            up to there the bounds of one are those of the other.
    """
    values: list[Interval] = []
    found: dict[int, Interval] = {}
    relaxed: dict[int, Relaxation] = {}
    wanted = set(network.bounded)
    rounding = RoundingLoss(network, inputs) if losses is None else None
    bands = ForwardBands(network, inputs) if network.input_size <= _FORWARD_INPUTS and inputs.is_box else None
    for i, node in enumerate(network.nodes):
        if rounding is not None:
            if i:
                rounding.extend()
            losses = rounding.losses
        assert losses is not None
        interval = forward_interval(node, values, inputs)
        if bands is not None and i:
            carried = bands.extend(found[node.input] if isinstance(node, Relu | Max) else None)
            interval = interval if carried is None else interval.intersect(carried)
        if known is not None and i in known:
            interval = interval.intersect(known[i])
        ball = inputs.ball(i)
        if ball is not None:
            interval = interval.intersect(Interval.around(ball.center, ball.radius.unsqueeze(-1)))
        if i in wanted:
            exact = inputs.is_box and isinstance(node, Affine) and node.inputs == (0,)
            kept = splits and inputs.halfspace is None and i in network.linear_nodes
            if isinstance(node, Affine) and not exact and not kept:
                interval = _tighten(network, inputs, i, interval, relaxed, losses, parted)
            found[i] = interval
            if rounding is not None:
                rounding.tighten(interval)
        if isinstance(node, Relu):
            relaxed[i] = relax_relu(found[node.input], network.dtype, inputs.ball(node.input))
        elif isinstance(node, Max):
            relaxed[i] = relax_max(found[node.input], node.windows, network.dtype)
        values.append(interval)
    return Bounds(found, "crown")


def _tighten(
    network: Network,
    inputs: InputSet,
    node: int,
    interval: Interval,
    relaxed: Mapping[int, Relaxation],
    losses: Losses,
    parted: Tensor | None,
) -> Interval:
    """Backward passes for the neurons of a node that are open in at least one member of the batch."""
    wanted = open_ = wanted_neurons(network, node, interval)
    seconds = None if parted is None else 2 * torch.nonzero(node <= parted).squeeze(-1) + 1
    if seconds is not None:
        open_ = wanted.index_fill(0, seconds, False)
    lower, upper = interval.lower.clone(), interval.upper.clone()
    largest = max(n.size for n in network.nodes[: node + 1])
    window = receptive_field_of(network, node) if inputs.balls is None else None
    counts = open_.sum(-1)
    for members in counts.argsort().split(_GROUP):  # alike in their number of open neurons
        if int(counts[members[-1]]) == 0:
            continue
        whole = len(members) == len(inputs)
        some = inputs if whole else inputs.rows(members)
        relaxed_some = relaxed if whole else {i: r.rows(members) for i, r in relaxed.items()}
        losses_some = losses if whole else losses.rows(members)
        part = interval if whole else interval.rows(members)
        order = selected(open_ if whole else open_[members])
        chunk = max(1, MEMORY_ENTRIES // (2 * len(members) * largest))
        for begin in range(0, order.shape[1], chunk):
            check()
            index = order[:, begin : begin + chunk]
            if window is not None:
                part = part.raised(index, window.lower_bounds(some, index, relaxed_some, losses_some))
                continue
            start = lower_and_upper(network, node, index, losses_some[node])
            form = backward(network, start, relaxed_some, losses=losses_some)
            part = part.raised(index, some.minimum(form.coefficients, form.offset))
        where = slice(None) if whole else members
        lower[where], upper[where] = part.lower, part.upper
    if seconds is not None:
        lower_alike = interval.lower[seconds] == interval.lower[seconds - 1]
        same = wanted[seconds] & lower_alike & (interval.upper[seconds] == interval.upper[seconds - 1])
        lower[seconds] = torch.where(same, lower[seconds - 1], lower[seconds])
        upper[seconds] = torch.where(same, upper[seconds - 1], upper[seconds])
    return Interval(lower, upper)


def wanted_neurons(network: Network, node: int, interval: Interval) -> Tensor:
    """Mask (batch, size) of the neurons whose bounds matter: open signs, and everything that a maximum reads."""
    if any(isinstance(n, Max) and n.input == node for n in network.nodes):
        return torch.ones_like(interval.lower, dtype=torch.bool)
    return interval.unstable


def selected(mask: Tensor) -> Tensor:
    """Indices (batch, most) of the true entries of (batch, size); shorter rows are padded with false ones."""
    most = int(mask.sum(-1).max())
    return mask.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :most]


def output_form(
    network: Network,
    inputs: InputSet,
    rows: Tensor,
    offset: Tensor,
    bounds: Bounds,
    losses: Losses | None = None,
) -> LinearForm:
    """Linear lower bound on rows (batch, count, outputs) times output plus offset (batch, count); `losses` as in `crown`."""
    losses = losses or RoundingLoss.of(network, inputs, bounds)
    relaxed = relaxations(network, bounds, inputs=inputs)
    return backward(network, Start.output(network, rows, offset), relaxed, losses=losses)


def output_lower_bounds(network: Network, inputs: InputSet, rows: Tensor, offset: Tensor, bounds: Bounds) -> Tensor:
    """Lower bounds (batch, count) of rows times output plus offset over each region."""
    form = output_form(network, inputs, rows, offset, bounds)
    return inputs.minimum(form.coefficients, form.offset)
