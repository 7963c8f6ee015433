"""Interval bound propagation: y = W m ± |W| r, the split of the weights into positive and negative parts.

Intervals are float64 whatever the network's precision, and widened by what rounding may have cost.
"""

from __future__ import annotations

from typing import assert_never

import torch

from ..network.nodes import Affine, Input, Max, Network, Node, Relu
from .bounds import Bounds, Interval
from .inputs import InputSet
from .rounding import gamma
from .underflow import raised, underflow


def forward_interval(node: Node, values: list[Interval], inputs: InputSet) -> Interval:
    """Interval of a node from the intervals of earlier nodes."""
    match node:
        case Input():
            return Interval(inputs.lower, inputs.upper)
        case Affine():
            dtype, terms = node.bias.dtype, len(node.inputs) + 8
            middle = node.bias.expand(len(inputs), -1)
            half = raised(middle.abs()) * (4 * gamma(terms, dtype))
            for j, operator in zip(node.inputs, node.operators, strict=True):
                before, absolute = values[j], operator.absolute
                largest = raised(torch.maximum(before.lower.abs(), before.upper.abs()).to(dtype))
                middle = middle + operator.apply(((before.lower + before.upper) / 2).to(dtype))
                half = half + absolute.apply(((before.upper - before.lower) / 2).to(dtype))
                half = half + absolute.apply(largest) * (4 * gamma(operator.fan_in + terms, dtype))
                half = half + 4 * underflow(operator, largest)
            middle, half = middle.to(inputs.lower.dtype), half.to(inputs.lower.dtype)
            return Interval(middle - half, middle + half)
        case Relu():
            before = values[node.input]
            return Interval(before.lower.clamp(min=0), before.upper.clamp(min=0))
        case Max():
            before = values[node.input]
            return Interval(before.lower[:, node.windows].amax(-1), before.upper[:, node.windows].amax(-1))
        case _:
            assert_never(node)


def ibp(network: Network, inputs: InputSet, known: Bounds | None = None) -> Bounds:
    """Intervals of every node that a ReLU or a maximum reads, and of the output; intersected with what is known."""
    values: list[Interval] = []
    for i, node in enumerate(network.nodes):
        interval = forward_interval(node, values, inputs)
        values.append(interval.intersect(known[i]) if known is not None and i in known else interval)
    return Bounds({i: values[i] for i in (*network.bounded, network.output)}, "ibp")
