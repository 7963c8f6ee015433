"""The exact forward pass, batched, on whatever device and precision the network's parameters have."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from .nodes import Affine, Input, Max, Network, Relu


def evaluate_all(network: Network, x: Tensor, upto: int | None = None) -> list[Tensor]:
    """Values of every node (before node `upto`), each (batch, size), for inputs `x` of shape (batch, input size)."""
    values: list[Tensor] = []
    for node in network.nodes[:upto]:
        match node:
            case Input():
                values.append(x)
            case Affine():
                total = node.bias.expand(len(x), -1)
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    total = total + operator.apply(values[j])
                values.append(total)
            case Relu():
                values.append(values[node.input].clamp(min=0))
            case Max():
                values.append(values[node.input][:, node.windows].amax(-1))
            case _:
                assert_never(node)
    return values


def evaluate(network: Network, x: Tensor) -> Tensor:
    """Outputs (batch, output size) for inputs (batch, input size); differentiable."""
    return evaluate_all(network, x)[-1]


def predict(network: Network, x: Tensor) -> Tensor:
    """Index of the largest output, (batch,)."""
    with torch.no_grad():
        return evaluate(network, x).argmax(-1)
