"""Forward linear bounds: every node between two linear functions of the input, carried layer by layer.

Looser than CROWN, whose backward passes choose relaxations for each neuron, but the cost grows with the number of
inputs instead of the number of neurons: for networks with a handful of inputs it is the cheapest useful bound
(Xu et al., "Automatic Perturbation Analysis", NeurIPS 2020, forward mode).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from ..network.nodes import Affine, Input, Max, Network, Relu
from .bounds import Interval
from .inputs import InputSet
from .rounding import gamma
from .underflow import raised, tiny, underflow


@dataclass(frozen=True)
class _Band:
    """lower . (x, 1) <= value <= upper . (x, 1); both (batch, inputs + 1, size), constants in the last row."""

    lower: Tensor
    upper: Tensor


class ForwardBands:
    """Bands of the nodes of one network over boxes, node by node; what they say holds in spite of rounding."""

    def __init__(self, network: Network, inputs: InputSet) -> None:
        """Start at the input; `extend` adds nodes in order."""
        self.network = network
        dtype, (batch, n) = network.dtype, inputs.lower.shape
        lower, upper = inputs.lower.to(torch.float64), inputs.upper.to(torch.float64)
        self._middle, self._half = (lower + upper) / 2, (upper - lower) / 2
        size = torch.maximum(lower.abs(), upper.abs()).to(dtype) * (1 + 4 * torch.finfo(dtype).eps)
        self._size = torch.cat([size, torch.ones_like(size[:, :1])], 1).unsqueeze(-1)
        one = torch.eye(n, dtype=dtype, device=size.device)
        identity = torch.cat([one, torch.zeros_like(one[:1])]).expand(batch, -1, -1)
        self._bands = [_Band(identity, identity)]

    def extend(self, before: Interval | None) -> Interval | None:
        """The next node; `before` are the bounds of what a ReLU or a maximum reads. Returns an affine node's interval."""
        node = self.network.nodes[len(self._bands)]
        match node:
            case Affine():
                self._bands.append(_affine(node, self._bands, self._size))
                return _concretise(self._bands[-1], self._middle, self._half, self._size)
            case Relu():
                assert before is not None
                self._bands.append(_relu(self._bands[node.input], before, self._size))
            case Max():
                assert before is not None
                highest = Interval(before.lower[:, node.windows].amax(-1), before.upper[:, node.windows].amax(-1))
                self._bands.append(_constant(highest, self._middle.shape[1], self.network.dtype))
            case Input():
                raise AssertionError("the input is node 0")
            case _:
                assert_never(node)
        return None


def _affine(node: Affine, bands: list[_Band], size: Tensor) -> _Band:
    """With W = W+ + W-: lower W+ L + W- U = W (L + U)/2 - |W| (U - L)/2, and the mirror image above."""
    dtype = node.bias.dtype
    lower = upper = lost = None
    for j, operator in zip(node.inputs, node.operators, strict=True):
        band, absolute = bands[j], operator.absolute
        center, spread = operator.apply((band.lower + band.upper) / 2), absolute.apply((band.upper - band.lower) / 2)
        largest = raised(((band.lower.abs() + band.upper.abs()) * size).sum(1))
        loss = gamma(operator.fan_in + band.lower.shape[1] + 8, dtype) * 2 * absolute.apply(largest)
        # coefficients on each input are lost at most like values, of which there are as many as inputs
        loss = loss + 4 * underflow(operator, largest) * size.sum(1)
        lower = center - spread if lower is None else lower + center - spread
        upper = center + spread if upper is None else upper + center + spread
        lost = loss if lost is None else lost + loss
    assert lower is not None and upper is not None and lost is not None
    shift = node.bias.unsqueeze(0)
    lost = lost + gamma(len(node.inputs) + 4, dtype) * raised(shift.abs())
    lower, upper = lower.clone(), upper.clone()
    lower[:, -1] += shift - lost
    upper[:, -1] += shift + lost
    return _Band(lower, upper)


def _relu(band: _Band, interval: Interval, size: Tensor) -> _Band:
    dtype = band.lower.dtype
    unit = torch.finfo(dtype).eps / 2
    low, high = interval.lower.clamp(max=0), interval.upper.clamp(min=0)
    slope = (high / (high - low).clamp(min=1e-300)).to(dtype).to(torch.float64)
    offset = torch.maximum(-slope * low, (1 - slope) * high)
    active, inactive = interval.lower >= 0, interval.upper <= 0
    slope = torch.where(active, 1.0, torch.where(inactive, 0.0, slope)).to(dtype).unsqueeze(1)
    offset = torch.where(active | inactive, 0.0, offset * (1 + 8 * unit)).to(dtype)
    below = torch.where(active, 1.0, torch.where(inactive, 0.0, (high > -low).to(torch.float64))).to(dtype).unsqueeze(1)
    lower, upper = band.lower * below, band.upper * slope
    lost = (upper.abs() * size).sum(1) * (8 * unit) + offset * (4 * unit) + 8 * tiny(dtype) * (1 + size.sum(1))
    upper[:, -1] += offset + lost
    return _Band(lower, upper)


def _concretise(band: _Band, middle: Tensor, half: Tensor, size: Tensor) -> Interval:
    """In float64, widened by what the sums may have lost."""
    lower, upper = band.lower.to(torch.float64), band.upper.to(torch.float64)
    center, reach = middle.unsqueeze(1), half.unsqueeze(1)
    low = torch.matmul(center, lower[:, :-1]) - torch.matmul(reach, lower[:, :-1].abs())
    high = torch.matmul(center, upper[:, :-1]) + torch.matmul(reach, upper[:, :-1].abs())
    scale = size.to(torch.float64)
    lost = gamma(4 * lower.shape[1] + 16, torch.float64)
    floor = 8 * tiny(torch.float64) * (lower.shape[1] + scale.sum(1))
    low = low.squeeze(1) + lower[:, -1] - lost * (lower.abs() * scale).sum(1) - floor
    high = high.squeeze(1) + upper[:, -1] + lost * (upper.abs() * scale).sum(1) + floor
    return Interval(torch.minimum(low, high), torch.maximum(low, high))


def _constant(interval: Interval, n: int, dtype: torch.dtype) -> _Band:
    """Bands that do not depend on the input, rounded outwards."""
    eps = 2 * torch.finfo(dtype).eps

    def stack(value: Tensor) -> Tensor:
        zeros = torch.zeros(len(value), n, value.shape[1], dtype=dtype, device=value.device)
        return torch.cat([zeros, value.to(dtype).unsqueeze(1)], 1)

    tiny = torch.finfo(dtype).tiny
    lower = interval.lower - interval.lower.abs() * eps - tiny
    return _Band(stack(lower), stack(interval.upper + interval.upper.abs() * eps + tiny))
