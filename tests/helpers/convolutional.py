"""Random convolutional networks that have receptive fields, and regions of their inputs."""

from __future__ import annotations

import numpy as np
import torch

from advverify.verifier.bounds import InputSet
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.operators import Conv2d, Dense, Select
from advverify.verifier.norms import get_norm


def convolutional(seed: int, residual: bool = False) -> Network:
    """Two or three convolutions of random stride, padding, dilation and groups, or a residual block; a dense head."""
    rng = np.random.default_rng(seed)
    b = NetworkBuilder((int(rng.integers(1, 3)), 11, 12))
    node, shape = 0, (b.size(0) // 132, 11, 12)

    def convolution(shape: tuple[int, int, int], channels: int, kernel: int, **options: object) -> Conv2d:
        groups = 2 if shape[0] % 2 == channels % 2 == 0 and rng.random() < 0.3 else 1
        weight = rng.normal(size=(channels, shape[0] // groups, kernel, kernel))
        return Conv2d(tensor(weight), shape, groups=groups, **options)  # type: ignore[arg-type]

    def bias(operator: Conv2d) -> np.ndarray:
        channels, height, width = operator.out_shape
        return np.repeat(rng.normal(size=channels), height * width)

    for _ in range(int(rng.integers(1, 3))):
        operator = convolution(
            shape,
            int(rng.integers(1, 4)),
            int(rng.integers(1, 4)),
            stride=(int(rng.integers(1, 3)), int(rng.integers(1, 3))),
            pads=tuple(int(p) for p in rng.integers(0, 2, 4)),
            dilation=(1, int(rng.integers(1, 3)) if shape[2] >= 5 else 1),
        )
        node, shape = b.relu(b.affine([node], [operator], bias(operator))), operator.out_shape
    if residual:
        first = convolution(shape, shape[0], 3, pads=(1, 1, 1, 1))
        inner = b.relu(b.affine([node], [first], bias(first)))
        second = convolution(shape, shape[0], 3, pads=(1, 1, 1, 1))
        shortcut = Select.identity(b.size(node)) if seed % 2 else convolution(shape, shape[0], 1)
        terms = [(inner, second), (node, shortcut)]
        if seed % 3 == 0:
            terms.reverse()
        node = b.affine([j for j, _ in terms], [operator for _, operator in terms], bias(second))
    else:
        last = convolution(shape, 2, min(2, *shape[1:]))
        node = b.affine([node], [last], bias(last))
    hidden = b.relu(node)
    return b.finish(b.affine([hidden], [Dense(tensor(rng.normal(size=(2, b.size(hidden)))))], None))


def regions(network: Network, seed: int, norm: str = "inf", count: int = 2) -> InputSet:
    rng = np.random.default_rng(seed)
    center = torch.from_numpy(rng.random((count, network.input_size)))
    radius = torch.full((count,), 0.2 if norm == "inf" else 0.6, dtype=torch.float64)
    whole = InputSet(torch.zeros_like(center), torch.ones_like(center), get_norm(norm), center, radius)
    return whole.with_radius(radius)


def windowed_node(network: Network) -> int:
    """The last node that a ReLU reads."""
    return network.bounded[-1]
