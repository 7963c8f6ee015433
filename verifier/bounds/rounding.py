"""What floating-point rounding may cost a backward pass: rigorous, in any summation order, for float64 and float32.

A backward pass replaces coefficients a on a node's value by rounded coefficients on what the node reads. Whatever the
rounded ones are, they are taken as exact from there on; the value lost by the step is at most

    affine   gamma_n |a| . |A| X        (n roundings an entry; X bounds |x| of what is read, over the region)
    ReLU     a few units of |a| . X     (slopes lie in [0, 1])

(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), so one vector a node, computed once by a
forward pass of magnitudes, turns every bound into a proved one for the price of one more inner product a node.

Underflow is absolute (`underflow`): a weight that is lost costs its node a part of `Losses.vectors`; a coefficient or a product that is
lost costs the pass something that does not depend on coefficients, `Losses.floor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from ..network.nodes import Affine, Input, Max, Network, Relu, predecessors
from ..network.operators import Operator
from .bounds import Bounds, Interval
from .inputs import InputSet
from .products import inner
from .underflow import raised, tiny, underflow

BLOCK = 64  # entries of an inner product that are summed in low precision
_SLACK = 1.05  # covers the rounding of the magnitudes themselves and the curvature of gamma_n


def gamma(terms: int, dtype: torch.dtype) -> float:
    """n u / (1 - n u) for the unit roundoff u of a precision."""
    unit = torch.finfo(dtype).eps / 2
    return terms * unit / (1 - terms * unit)


def _coefficients_lost(operator: Operator, magnitude: Tensor, readers: int) -> Tensor:
    """What coefficients that underflow on their way through the adjoint may cost, (batch,) in float64, in smallest numbers."""
    factors = operator.chain
    cost = torch.zeros(len(magnitude), dtype=torch.float64, device=magnitude.device)
    for k, factor in enumerate(factors):
        cost = cost + 4 * (factor.fan_out + readers + 1) * magnitude.sum(-1, dtype=torch.float64)
        if k + 1 < len(factors):
            magnitude = factor.absolute.apply(magnitude)
    return cost


@dataclass(frozen=True)
class Losses:
    """What a backward pass may lose.

    Attributes:
        vectors: for every node, (batch or 1, size): the product with |coefficients on the node| bounds the step's loss.
        floor: (batch or 1,), float64: what the whole pass may lose besides, whatever its coefficients.
    """

    vectors: list[Tensor]
    floor: Tensor

    def __getitem__(self, node: int) -> Tensor:
        """A node's vector."""
        return self.vectors[node]

    def rows(self, index: Tensor) -> Losses:
        """Some of the batch; what stands for all regions stays."""
        one = len(self.floor) == 1
        return self if one else Losses([vector[index] for vector in self.vectors], self.floor[index])


def lost(weights: Tensor, loss: Tensor) -> Tensor:
    """What a step with coefficients `weights` (batch, rows, size) may lose; (batch, rows).

    `loss` is (batch, size), or (1, size) where one region's losses serve a batch of its parts.
    """
    return inner(weights.abs(), loss)


class RoundingLoss:
    """Computes `Losses` node after node."""

    def __init__(self, network: Network, inputs: InputSet) -> None:
        """Start at the input; `extend` adds nodes in order."""
        self.network = network
        largest = torch.maximum(inputs.lower.abs(), inputs.upper.abs())
        self.magnitude: list[Tensor] = [largest.to(network.dtype) * _SLACK + tiny(network.dtype)]
        self._vectors: list[Tensor] = [torch.zeros_like(self.magnitude[0])]
        # in smallest numbers; products with the inputs are made in float64
        self._floor = 8.0 * network.input_size + torch.zeros_like(largest[:, 0], dtype=torch.float64)
        self._readers = [0] * len(network.nodes)
        for node in network.nodes:
            for j in predecessors(node):
                self._readers[j] += 1

    @classmethod
    def along(cls, network: Network, inputs: InputSet, bounds: Bounds) -> RoundingLoss:
        """Past all nodes, with the bounds that are known."""
        result = cls(network, inputs)
        for i in range(1, len(network.nodes)):
            result.extend()
            if i in bounds:
                result.tighten(bounds[i])
        return result

    @classmethod
    def of(cls, network: Network, inputs: InputSet, bounds: Bounds) -> Losses:
        """Those of all nodes, with the bounds that are known."""
        return cls.along(network, inputs, bounds).losses

    @property
    def losses(self) -> Losses:
        """Those of the nodes so far; later nodes are added to the same vectors."""
        return Losses(self._vectors, self._floor * tiny(self.network.dtype))

    def extend(self) -> None:
        """The next node."""
        i = len(self.magnitude)
        node, dtype = self.network.nodes[i], self.network.dtype
        unit, wide = torch.finfo(dtype).eps / 2, gamma(node.size, torch.float64)
        if dtype != torch.float64:  # inner products are summed in blocks
            wide += gamma(BLOCK, dtype)
        floor = torch.full_like(self._floor, 8.0 * node.size)  # products with losses, biases and offsets
        match node:
            case Affine():
                largest = node.bias.abs().expand(len(self.magnitude[0]), -1)
                loss = largest * (2 * unit + wide)
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    before = self.magnitude[j]
                    less = underflow(operator, before)
                    spread = operator.absolute.apply(before) + less
                    loss = loss + gamma(operator.fan_out + self._readers[j] + 2, dtype) * spread + less
                    largest = largest + spread
                    floor = floor + _coefficients_lost(operator, before, self._readers[j])
                largest = largest * _SLACK + tiny(dtype)
            case Relu():
                before = self.magnitude[node.input]
                largest, loss = before, raised(before) * (4 * unit + wide + self._readers[node.input] * unit)
                floor = floor + 4 * before.sum(-1, dtype=torch.float64)
            case Max():
                before = self.magnitude[node.input]
                largest = before[:, node.windows].amax(-1)
                overlap = int(torch.bincount(node.windows.flatten()).max()) + self._readers[node.input] + 2
                loss = raised(largest) * (gamma(overlap, dtype) + wide)
                floor = floor + 4 * before.sum(-1, dtype=torch.float64)
            case Input():
                raise AssertionError("the input is node 0")
            case _:
                assert_never(node)
        self.magnitude.append(largest)
        self._vectors.append(loss * _SLACK)
        self._floor = self._floor + floor

    def tighten(self, interval: Interval) -> None:
        """Learn more of the values of the node that came last."""
        known = torch.maximum(interval.lower.abs(), interval.upper.abs()).to(self.network.dtype) * _SLACK
        known = known + tiny(self.network.dtype)
        self.magnitude[-1] = torch.minimum(self.magnitude[-1], known)
