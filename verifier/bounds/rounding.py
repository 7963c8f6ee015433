"""What floating-point rounding may cost a backward pass: rigorous, in any summation order, for float64 and float32.

A backward pass replaces coefficients a on a node's value by rounded coefficients on what the node reads. Whatever the
rounded ones are, they are taken as exact from there on; the value lost by the step is at most

    affine   gamma_n |a| . |A| X        (n roundings an entry; X bounds |x| of what is read, over the region)
    ReLU     a few units of |a| . X     (slopes lie in [0, 1])

(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), so one vector a node, computed once by a
forward pass of magnitudes, turns every bound into a proved one for the price of one more inner product a node.
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from ..network.nodes import Affine, Input, Max, Network, Relu, predecessors
from .bounds import Bounds, Interval
from .inputs import InputSet
from .products import inner

BLOCK = 64  # entries of an inner product that are summed in low precision
_SLACK = 1.05  # covers the rounding of the magnitudes themselves and the curvature of gamma_n


def gamma(terms: int, dtype: torch.dtype) -> float:
    """n u / (1 - n u) for the unit roundoff u of a precision."""
    unit = torch.finfo(dtype).eps / 2
    return terms * unit / (1 - terms * unit)


def lost(weights: Tensor, loss: Tensor) -> Tensor:
    """What a step with coefficients `weights` (batch, rows, size) may lose; (batch, rows).

    `loss` is (batch, size), or (1, size) where one region's losses serve a batch of its parts.
    """
    return inner(weights.abs(), loss)


class RoundingLoss:
    """For every node, the vector (batch, size) whose product with |coefficients on the node| bounds the step's loss."""

    def __init__(self, network: Network, inputs: InputSet) -> None:
        """Start at the input; `extend` adds nodes in order."""
        self.network = network
        largest = torch.maximum(inputs.lower.abs(), inputs.upper.abs())
        self.magnitude: list[Tensor] = [largest.to(network.dtype) * _SLACK]
        self.loss: list[Tensor] = [torch.zeros_like(self.magnitude[0])]
        self._readers = [0] * len(network.nodes)
        for node in network.nodes:
            for j in predecessors(node):
                self._readers[j] += 1

    @classmethod
    def of(cls, network: Network, inputs: InputSet, bounds: Bounds) -> RoundingLoss:
        """All nodes, with the bounds that are known."""
        result = cls(network, inputs)
        for i in range(1, len(network.nodes)):
            result.extend()
            if i in bounds:
                result.tighten(bounds[i])
        return result

    def extend(self) -> None:
        """The next node."""
        i = len(self.magnitude)
        node, dtype = self.network.nodes[i], self.network.dtype
        unit, wide = torch.finfo(dtype).eps / 2, gamma(node.size, torch.float64)
        if dtype != torch.float64:  # inner products are summed in blocks
            wide += gamma(BLOCK, dtype)
        match node:
            case Affine():
                largest = node.bias.abs().expand(len(self.magnitude[0]), -1)
                loss = largest * (2 * unit + wide)
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    spread = operator.absolute.apply(self.magnitude[j])
                    loss = loss + gamma(operator.fan_out + self._readers[j] + 2, dtype) * spread
                    largest = largest + spread
                largest = largest * _SLACK
            case Relu():
                before = self.magnitude[node.input]
                largest, loss = before, before * (4 * unit + wide + self._readers[node.input] * unit)
            case Max():
                before = self.magnitude[node.input]
                largest = before[:, node.windows].amax(-1)
                overlap = int(torch.bincount(node.windows.flatten()).max()) + self._readers[node.input] + 2
                loss = largest * (gamma(overlap, dtype) + wide)
            case Input():
                raise AssertionError("the input is node 0")
            case _:
                assert_never(node)
        self.magnitude.append(largest)
        self.loss.append(loss * _SLACK)

    def tighten(self, interval: Interval) -> None:
        """Learn more of the values of the node that came last."""
        known = torch.maximum(interval.lower.abs(), interval.upper.abs()).to(self.network.dtype) * _SLACK
        self.magnitude[-1] = torch.minimum(self.magnitude[-1], known)
