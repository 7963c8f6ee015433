"""l2 balls that hold what every ReLU reads, and what ReLUs lose when they are replaced by lines over such a ball.

An l2 ball of inputs moves all neurons of a layer together: their distances from the values at its center add up to at
most (L radius)^2, L the layer's Lipschitz constant. A box lets each of them move as if it were alone, which costs a
factor of about the square root of the layer's width. So for coefficients c on ReLUs and g on what they read, the lines'
offset may be

    min over v of  sum_i c_i relu(v_i) - g_i v_i   >=   max over t >= 0 of  sum_i m_i(t) - t rho^2 / 2,
    m_i(t) = min over l_i <= v <= u_i of  c_i relu(v) - g_i v + t (v - center_i)^2 / 2,

each m_i in closed form. Any t is valid; t = 0 gives the offset of the box. This is the multiplier of Chiu, Chen & Zhang
("SDP-CROWN", ICML 2025) with the neurons' own bounds kept in the minimum instead of relaxed. For an input within r of its
center rho is L r, so bounds made of such offsets rise towards the center as - t L^2 r^2 / 2 does: their `bend`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..network.evaluate import evaluate_all
from ..network.nodes import Affine, Max, Network, Relu
from ..norms.base import lost_squares
from .lipschitz import lipschitz_constants

_HALVINGS = 6  # of the interval, in logarithms, that holds the best t
_LEAST = 1e-2  # smallest t, relative to the largest that can be best
_WORTH = 0.5  # a ball counts where its square radius is at most this share of the box's
_UNIT = 2.0**-53
_SMALL = 1e-280  # far above what products of numbers of any size that matters lose by underflow


@dataclass(frozen=True)
class ValueBall:
    """A ball that holds a node's value: center (batch, size), radius (batch,), and how it grows with the inputs' ball."""

    center: Tensor
    radius: Tensor
    constant: float


@dataclass(frozen=True)
class NodeBalls:
    """For nodes of a network, balls that hold their values on a batch of regions.

    Attributes:
        center: (batch, size) by node, the values at the regions' centers.
        error: (batch,) by node, what rounding may have moved them.
        constant: by node, how much farther than the input a value can move.
    """

    center: Mapping[int, Tensor]
    error: Mapping[int, Tensor]
    constant: Mapping[int, float]

    @classmethod
    def around(cls, network: Network, centers: Tensor) -> NodeBalls:
        """For all nodes that ReLUs and maxima read; `network` and centers (batch, inputs) in float64."""
        constants = lipschitz_constants(network)
        with torch.no_grad():
            values = evaluate_all(network, centers)
            errors = _forward_errors(network, values)
        wanted = [i for i in network.bounded if i]
        return cls(
            {i: values[i] for i in wanted},
            {i: (torch.linalg.vector_norm(errors[i], dim=-1) + lost_squares(errors[i])) * (1 + 1e-9) for i in wanted},
            {i: constants[i] for i in wanted},
        )

    def rows(self, index: Tensor) -> NodeBalls:
        """Some of the batch."""
        return NodeBalls(
            {i: t[index] for i, t in self.center.items()}, {i: t[index] for i, t in self.error.items()}, self.constant
        )

    def at(self, node: int, radius: Tensor) -> ValueBall:
        """The balls of a node for radii (batch,) of the inputs', rounded up."""
        reach = (self.constant[node] * radius.double() + self.error[node]) * (1 + 1e-12)
        return ValueBall(self.center[node], reach.nan_to_num(nan=torch.inf, posinf=torch.inf), self.constant[node])


def _forward_errors(network: Network, values: list[Tensor]) -> list[Tensor]:
    """How far values computed in float64 may be from the exact ones."""
    errors = [torch.zeros_like(values[0])]
    for i, node in enumerate(network.nodes[1:], start=1):
        match node:
            case Affine():
                error, size = torch.zeros_like(values[i]), node.bias.abs().expand_as(values[i])
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    spread = operator.absolute.apply(values[j].abs() + errors[j])
                    error = error + operator.absolute.apply(errors[j])
                    error, size = error + (operator.fan_in + 2) * _UNIT * spread, size + spread
                errors.append((error + (len(node.inputs) + 1) * _UNIT * size) * (1 + 1e-9) + _SMALL)
            case Relu():
                errors.append(errors[node.input])
            case Max():
                errors.append(errors[node.input][:, node.windows].amax(-1))
            case _:
                raise AssertionError("the input is node 0")
    return errors


@dataclass(frozen=True)
class ReluBall:
    """Bounds of what some ReLUs read and a ball that holds it; each (batch, 1, columns) but `radius`, (batch, 1).

    `columns` are the numbers of those ReLUs in their layer, the others lose nothing; `constant` is the layer's L.
    """

    columns: Tensor
    lower: Tensor
    upper: Tensor
    center: Tensor
    radius: Tensor
    constant: float

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor, ball: ValueBall) -> ReluBall | None:
        """From bounds (batch, size) and a ball; None where the ball is no smaller than the box."""
        center, radius = ball.center, ball.radius
        moved = (lower < 0) & (upper > 0) | (center < lower) | (center > upper)
        columns = torch.nonzero(moved.any(0)).squeeze(-1)
        lower, upper, center = lower[:, columns], upper[:, columns], center[:, columns]
        farthest = torch.maximum((lower - center).abs(), (upper - center).abs())
        if not bool((radius**2 <= _WORTH * (farthest**2).sum(-1)).any()):
            return None
        parts = lower.unsqueeze(1), upper.unsqueeze(1), center.unsqueeze(1), radius.unsqueeze(1)
        return cls(columns, *parts, ball.constant)

    def rows(self, index: Tensor) -> ReluBall:
        """Some of the batch."""
        return replace(
            self,
            lower=self.lower[index],
            upper=self.upper[index],
            center=self.center[index],
            radius=self.radius[index],
        )

    def to(self, dtype: torch.dtype) -> ReluBall:
        """The same in another precision; nothing that is proved may come of it."""
        return replace(
            self,
            lower=self.lower.to(dtype),
            upper=self.upper.to(dtype),
            center=self.center.to(dtype),
            radius=self.radius.to(dtype),
        )

    def offset(self, on_output: Tensor, on_input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Lower bounds (batch, rows) on sum c relu(v) - g v over ball and box, their bends, and where they are attained.

        Args:
            on_output: c, (batch, rows, size) over the whole layer.
            on_input: g, the same shape.
        """
        c = on_output[..., self.columns].to(self.lower.dtype)
        g = on_input[..., self.columns].to(self.lower.dtype)
        largest = torch.maximum(g.abs(), (c - g).abs()).square().sum(-1).sqrt() / self.radius.clamp(min=1e-300)
        low, high = (largest * _LEAST).clamp(min=1e-30).log(), largest.clamp(min=1e-30).log()
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            point = self._point(c, g, middle.exp().unsqueeze(-1))
            outside = (point - self.center).square().sum(-1) > self.radius.square()
            low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
        t = high.exp().unsqueeze(-1)
        point = self._point(c, g, t)
        return self._value(c, g, t), t.squeeze(-1) / 2 * (self.constant**2 * (1 - 1e-6)), point

    def _sides(self, c: Tensor, g: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Minimisers on the active and on the inactive side, and whether each of these sides exists."""
        above = (self.center - (c - g) / t).clamp(min=0)
        above = torch.minimum(torch.maximum(above, self.lower), self.upper)
        below = (self.center + g / t).clamp(max=0)
        below = torch.minimum(torch.maximum(below, self.lower), self.upper)
        return above, below, self.upper >= 0, self.lower <= 0

    def _point(self, c: Tensor, g: Tensor, t: Tensor) -> Tensor:
        """Where m_i(t) is attained."""
        above, below, active, inactive = self._sides(c, g, t)
        value_above = (c - g) * above + t / 2 * (above - self.center).square()
        value_below = t / 2 * (below - self.center).square() - g * below
        return torch.where(active & (~inactive | (value_above <= value_below)), above, below)

    def _value(self, c: Tensor, g: Tensor, t: Tensor) -> Tensor:
        """sum m_i(t) - t rho^2 / 2, with an allowance for rounding.

        A minimiser computed with a relative error of some units is off the exact minimum by the square of that, for
        which t size^2 units stand.
        """
        unit, tiny = torch.finfo(t.dtype).eps, torch.finfo(t.dtype).tiny
        above, below, active, inactive = self._sides(c, g, t)
        infinite = torch.full_like(above, torch.inf)
        values, sizes = [], []
        for slope, point, exists in ((c - g, above, active), (-g, below, inactive)):
            bent = t / 2 * (point - self.center).square()
            values.append(torch.where(exists, slope * point + bent, infinite))
            sizes.append(
                (c.abs() + g.abs()) * point.abs() + bent + t * unit * (point.abs() + self.center.abs()).square()
            )
        paid = t.squeeze(-1) / 2 * self.radius.square()
        size = torch.maximum(*sizes).sum(-1) + paid
        count = len(self.columns) + 32
        lowest = torch.minimum(*values).sum(-1) - paid
        return lowest - size * (2 * count * unit) - count * (_SMALL + 4 * tiny * t.squeeze(-1))
