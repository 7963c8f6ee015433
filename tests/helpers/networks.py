"""Tiny random networks of every kind, for laws and brute force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch

from advverify.verifier.network.activations import leaky_relu
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.nodes import Affine, Max, Network, Relu
from advverify.verifier.network.operators import Compose, Conv2d, Dense, Operator, Scale

KINDS = ("mlp", "leaky", "residual", "conv", "maxpool")  # "wide" besides, an "mlp" with six inputs


def random_network(kind: str, seed: int) -> Network:
    """At most 12 ReLUs, 3 outputs, 3 to 9 inputs in [0, 1]."""
    rng = np.random.default_rng(seed)

    def dense(builder: NetworkBuilder, node: int, size: int, scale: float = 1.0) -> int:
        weight = rng.normal(size=(size, builder.size(node))) * scale
        return builder.affine([node], [Dense(tensor(weight))], rng.normal(size=size) * 0.3)

    if kind in ("mlp", "leaky", "wide"):
        b = NetworkBuilder((2, 1, 3) if kind == "wide" else (3,))
        function = leaky_relu(0.1 if kind == "leaky" else 0.0)
        h = b.activation(dense(b, 0, 4), function)
        h = b.activation(dense(b, h, 3), function)
        return b.finish(dense(b, h, 3))
    if kind == "residual":
        b = NetworkBuilder((3,))
        z = dense(b, 0, 3)
        for _ in range(2):
            inner = b.relu(dense(b, z, 3))
            z = b.add(z, dense(b, inner, 3, 0.7))
        return b.finish(dense(b, z, 3))
    b = NetworkBuilder((1, 3, 3))
    kernel = rng.normal(size=(2 if kind == "conv" else 1, 1, 2, 2))
    convolution = Conv2d(tensor(kernel), (1, 3, 3), (1, 1), (0, 0, 0, 0))
    h = b.affine([0], [convolution], rng.normal(size=convolution.out_size) * 0.3)
    if kind == "conv":
        return b.finish(dense(b, b.relu(h), 3))
    h = b.maximum(h, np.array([[0, 1, 2], [1, 2, 3]]))
    return b.finish(dense(b, b.relu(dense(b, h, 3)), 3))


def with_scales(network: Network, scales: Sequence[float]) -> Network:
    """The affine nodes times these powers of 2, in turn."""

    def times(operator: Operator, scale: float) -> Operator:
        if isinstance(operator, Dense | Conv2d):
            return replace(operator, weight=operator.weight * scale)
        return Compose((operator, Scale(torch.full((operator.out_size,), scale, dtype=torch.float64))))

    nodes, k = list(network.nodes), 0
    for i, node in enumerate(nodes):
        if isinstance(node, Affine):
            scale, k = scales[k % len(scales)], k + 1
            operators = tuple(times(operator, scale) for operator in node.operators)
            nodes[i] = replace(node, operators=operators, bias=node.bias * scale)
    return replace(network, nodes=tuple(nodes))


def scaled(network: Network, factor: float) -> Network:
    """The same network with all biases multiplied by `factor`: large values that cancel, so that rounding shows."""
    nodes = tuple(
        replace(node, bias=node.bias * factor) if isinstance(node, Affine) else node for node in network.nodes
    )
    return replace(network, nodes=nodes)


def _times(operator: Operator, x: list[Fraction]) -> list[Fraction]:
    """An operator that is no product, applied in rational arithmetic."""
    matrix = operator.to_sparse().tocsr()
    total = [Fraction(0)] * operator.out_size
    for o in range(operator.out_size):
        begin, end = matrix.indptr[o], matrix.indptr[o + 1]
        for k, w in zip(matrix.indices[begin:end], matrix.data[begin:end], strict=True):
            total[o] += Fraction(float(w)) * x[k]
    return total


def forward_exactly(network: Network, x: list[Fraction]) -> list[list[Fraction]]:
    """Every node's value in rational arithmetic."""
    values = [x]
    for node in network.nodes[1:]:
        if isinstance(node, Affine):
            total = [Fraction(float(b)) for b in node.bias]
            for j, operator in zip(node.inputs, node.operators, strict=True):
                part = values[j]
                for factor in operator.chain:
                    part = _times(factor, part)
                total = [a + b for a, b in zip(total, part, strict=True)]
            values.append(total)
        elif isinstance(node, Relu):
            values.append([max(v, Fraction(0)) for v in values[node.input]])
        else:
            assert isinstance(node, Max)
            values.append([max(values[node.input][int(m)] for m in window) for window in node.windows])
    return values


def deep(seed: int) -> Network:
    """Six inputs, three layers of ten ReLUs, three outputs."""
    rng = np.random.default_rng(seed)
    b = NetworkBuilder((6,))
    node = 0
    for size in (10, 10, 10, 3):
        weight = rng.normal(size=(size, b.size(node))) * 1.4 / np.sqrt(b.size(node))
        node = b.affine([node], [Dense(tensor(weight))], rng.normal(size=size) * 0.2)
        node = b.relu(node) if size > 3 else node
    return b.finish(node)
