"""Exact rewriting of a network: dead nodes go, neighbouring affine nodes are folded into one.

An affine node is folded into its reader when it has no other reader and one input, or when the reader's operator is
trivial (a selection or scaling). Sums with several readers - residual streams - stay nodes of their own: backward
bound propagation keeps them affine in the input and earlier ReLUs anyway, and nothing is multiplied out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from .nodes import Affine, Max, Network, Node, Relu, predecessors
from .operators import Compose, Conv2d, Dense, Operator, Scale, Select


def fuse(first: Operator, second: Operator) -> Operator:
    """second(first(x)) as one operator, multiplied out where that costs nothing."""
    left = first.factors if isinstance(first, Compose) else (first,)
    right = second.factors if isinstance(second, Compose) else (second,)
    product = _multiply(left[-1], right[0])
    chain = (*left, *right) if product is None else (*left[:-1], product, *right[1:])
    return chain[0] if len(chain) == 1 else Compose(chain)


def _multiply(first: Operator, second: Operator) -> Operator | None:
    """The product of two elementary operators, or None where it would cost memory or time."""
    if isinstance(first, Select) and first.is_identity:
        return second
    if isinstance(second, Select) and second.is_identity:
        return first
    match first, second:
        case Select(), Select():
            index = torch.where(second.index >= 0, first.index[second.index.clamp(min=0)], second.index)
            return Select(index, first.size)
        case Scale(), Scale():
            return Scale(first.factor * second.factor)
        case Dense(repeat=1), Scale():
            return Dense(first.weight * second.factor[:, None])
        case Scale(), Dense(repeat=1):
            return Dense(second.weight * first.factor)
        case Select(), Dense(repeat=1):
            return Dense(first.adjoint(second.weight))
        case Dense(repeat=1), Select() if not second.has_gaps and second.out_size <= second.size:
            return Dense(first.weight[second.index])
        case Dense(repeat=1), Dense(repeat=1) if first.in_size * second.out_size <= first.weight.numel():
            return Dense(second.weight @ first.weight)
        case Conv2d(), Scale():
            per_channel = second.factor.reshape(first.out_shape[0], -1)
            if bool((per_channel == per_channel[:, :1]).all()):
                return replace(first, weight=first.weight * per_channel[:, :1, None, None])
    return None


def _readers(nodes: tuple[Node, ...]) -> Counter[int]:
    return Counter(j for node in nodes for j in predecessors(node))


def _fold(network: Network) -> Network:
    """Fold every affine node that may be folded into its readers (one pass, in topological order)."""
    readers = _readers(network.nodes)
    nodes: list[Node] = []
    for node in network.nodes:
        if not isinstance(node, Affine):
            nodes.append(node)
            continue
        inputs: list[int] = []
        operators: list[Operator] = []
        bias: Tensor = node.bias
        for j, operator in zip(node.inputs, node.operators, strict=True):
            source = nodes[j]
            cheap = isinstance(operator, Select | Scale)
            if isinstance(source, Affine) and readers[j] == 1 and (len(source.inputs) == 1 or cheap):
                bias = bias + operator.apply(source.bias)
                inputs.extend(source.inputs)
                operators.extend(fuse(inner, operator) for inner in source.operators)
            else:
                inputs.append(j)
                operators.append(operator)
        nodes.append(Affine(tuple(inputs), tuple(operators), bias, node.name or network.nodes[node.inputs[0]].name))
    return replace(network, nodes=tuple(nodes))


def _prune(network: Network) -> Network:
    """Drop nodes that the output does not depend on; the input always stays."""
    needed = {0, network.output}
    for i in range(network.output, -1, -1):
        if i in needed:
            needed.update(predecessors(network.nodes[i]))
    order = sorted(needed)
    place = {old: new for new, old in enumerate(order)}
    nodes: list[Node] = []
    for i in order:
        node = network.nodes[i]
        match node:
            case Affine():
                nodes.append(replace(node, inputs=tuple(place[j] for j in node.inputs)))
            case Relu() | Max():
                nodes.append(replace(node, input=place[node.input]))
            case _:
                nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def simplify(network: Network) -> Network:
    """Fold and prune; the function computed is the same up to float64 rounding of folded weights."""
    return _prune(_fold(_prune(network)))
