"""Exact rewriting of a network: dead nodes go, neighbouring affine nodes are folded into one.

An affine node is folded into its reader when it has no other reader and one input, or when the reader's operator is
trivial (a selection or scaling), and no entry is rounded by that: what bounds and programs say is about the weights that
they are given, and where weights are multiplied out 1e16 + 1 - 1e16 is 0. Sums with several readers - residual streams - stay nodes of their own: backward
bound propagation keeps them affine in the input and earlier ReLUs anyway, and nothing is multiplied out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from .exact import exact_product, exact_sum
from .nodes import Affine, Max, Network, Node, Relu, predecessors
from .operators import Compose, Conv2d, Dense, Operator, Scale, Select


def fuse(first: Operator, second: Operator) -> Operator:
    """second(first(x)) as one operator, multiplied out where that costs nothing."""
    left, right = first.chain, second.chain
    product = _multiply(left[-1], right[0])
    chain = (*left, *right) if product is None else (*left[:-1], product, *right[1:])
    return chain[0] if len(chain) == 1 else Compose(chain)


def _multiply(first: Operator, second: Operator) -> Operator | None:
    """The product of two elementary operators; None where it would cost memory or time, or where an entry would be rounded."""
    if isinstance(first, Select) and first.is_identity:
        return second
    if isinstance(second, Select) and second.is_identity:
        return first
    match first, second:
        case Select(), Select():
            index = torch.where(second.index >= 0, first.index[second.index.clamp(min=0)], second.index)
            return Select(index, first.size)
        case Scale(), Scale():
            factor = exact_product(first.factor, second.factor)
            return None if factor is None else Scale(factor)
        case Dense(repeat=1), Scale():
            weight = exact_product(first.weight, second.factor[:, None])
            return None if weight is None else Dense(weight)
        case Scale(), Dense(repeat=1):
            weight = exact_product(second.weight, first.factor)
            return None if weight is None else Dense(weight)
        case Select(), Dense(repeat=1) if not _adds(first):
            return Dense(first.adjoint(second.weight))
        case Dense(repeat=1), Select() if not second.has_gaps and second.out_size <= second.size:
            return Dense(first.weight[second.index])
        case Conv2d(), Scale():
            per_channel = second.factor.reshape(first.out_shape[0], -1)
            if bool((per_channel == per_channel[:, :1]).all()):
                weight = exact_product(first.weight, per_channel[:, :1, None, None])
                return None if weight is None else replace(first, weight=weight)
    return None


def _adds(select: Select) -> bool:
    """Whether an input is shown twice, so that its coefficients are added up."""
    shown = select.index[select.index >= 0]
    return len(shown) > 0 and int(torch.bincount(shown).max()) > 1


def _shift(bias: Tensor, operator: Operator, inner: Tensor) -> Tensor | None:
    """bias + operator(inner), or None where that may round."""
    if not bool(inner.any()):
        return bias
    for factor in operator.chain:
        match factor:
            case Select():
                moved: Tensor | None = factor.apply(inner)
            case Scale():
                moved = exact_product(inner, factor.factor)
            case _:
                moved = None
        if moved is None:
            return None
        inner = moved
    return exact_sum(bias, inner)


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
            shifted: Tensor | None = None
            if isinstance(source, Affine) and readers[j] == 1 and (len(source.inputs) == 1 or cheap):
                shifted = _shift(bias, operator, source.bias)
            if isinstance(source, Affine) and shifted is not None:
                bias = shifted
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
    """Fold and prune; the function is the same, to the last bit of every weight."""
    return _prune(_fold(_prune(network)))
