"""Batches of input regions, and the exact minimum of linear functions over them (concretisation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..network.nodes import Network
from ..norms import Norm, UnitBall
from ..norms.base import ball_box
from ..specification import Region
from .activation_balls import NodeBalls, ValueBall
from .halfspace import HalfSpaces, added, box_multipliers, multipliers
from .products import inner
from .underflow import raised, tiny

_UNIT = 2.0**-53
_BENDS = 8  # halvings of the interval that holds a certified radius


@dataclass(frozen=True)
class InputSet:
    """A batch of boxes, intersected with balls of one norm and with half-spaces where there are any.

    Attributes:
        lower: (batch, n).
        upper: (batch, n); the box is already cut to the ball's bounding box.
        norm: of the balls, or None. A linf ball is a box, so for it `norm` matters for radii only.
        center: (batch, n) or None.
        radius: (batch,) or None; finite, no larger than what reaches the farthest corner of the box.
        halfspace: half-spaces outside of which nothing is looked for, or None; minima over them are lower bounds, not exact.
        balls: l2 balls that hold the values of a network's nodes, or None.
    """

    lower: Tensor
    upper: Tensor
    norm: Norm | None = None
    center: Tensor | None = None
    radius: Tensor | None = None
    halfspace: HalfSpaces | None = None
    balls: NodeBalls | None = None

    @classmethod
    def from_regions(
        cls, regions: Sequence[Region], dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> InputSet:
        """Stack regions; all with balls of one norm, or all without."""

        def stack(arrays: Sequence[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(arrays).astype(np.float64)).to(device=device, dtype=dtype)

        boxes = [region.bounding_box() for region in regions]
        lower, upper = stack([b[0] for b in boxes]), stack([b[1] for b in boxes])
        balls = [region.ball for region in regions if region.ball is not None]
        if not balls:
            return cls(lower, upper)
        if len(balls) != len(regions) or len({ball.norm.key for ball in balls}) > 1:
            raise ValueError("a batch holds balls of one norm, or none")
        center = stack([ball.center for ball in balls])
        radius = torch.tensor([float(ball.radius) for ball in balls], dtype=dtype, device=device)
        # A ball that holds the box cuts nothing off it, whatever its radius; infinity would make NaN with a zero.
        farthest = balls[0].norm.length(torch.maximum(center - lower, upper - center)) * (1 + 1e-6)
        return cls(lower, upper, balls[0].norm, center, torch.minimum(radius, farthest.to(dtype)))

    def __len__(self) -> int:
        """Batch size."""
        return len(self.lower)

    @property
    def is_box(self) -> bool:
        """Whether the region is nothing but the box."""
        return self.halfspace is None and self.boxed

    @property
    def boxed(self) -> bool:
        """Whether the region is a box, or the part of one in a half-space."""
        return self.norm is None or self.norm.unit_ball is UnitBall.BOX

    def rows(self, index: Tensor) -> InputSet:
        """Some of the batch."""
        return InputSet(
            self.lower[index],
            self.upper[index],
            None if self.norm is None else self.norm.rows(index),
            None if self.center is None else self.center[index],
            None if self.radius is None else self.radius[index],
            None if self.halfspace is None else self.halfspace.rows(index),
            None if self.balls is None else self.balls.rows(index),
        )

    def to(self, dtype: torch.dtype) -> InputSet:
        """The same regions in another precision, without balls."""
        return InputSet(
            self.lower.to(dtype),
            self.upper.to(dtype),
            self.norm,
            None if self.center is None else self.center.to(dtype),
            None if self.radius is None else self.radius.to(dtype),
            None if self.halfspace is None else self.halfspace.to(dtype),
        )

    def with_balls(self, network: Network) -> InputSet:
        """The same regions, knowing where the nodes of a network (in float64) move; for l1 and l2, as |x|_2 <= |x|_1."""
        if (
            self.norm is None
            or self.norm.unit_ball not in (UnitBall.CROSS_POLYTOPE, UnitBall.EUCLIDEAN)
            or self.center is None
            or self.radius is None
        ):
            return self
        return replace(self, balls=NodeBalls.around(network, self.center))

    def ball(self, node: int) -> ValueBall | None:
        """A ball that holds a node's value, where one is known."""
        if self.balls is None or self.radius is None or node not in self.balls.center:
            return None
        return self.balls.at(node, self.radius)

    def within(self, halfspace: HalfSpaces | None) -> InputSet:
        """The same regions' parts in half-spaces, instead of those of before."""
        return replace(self, halfspace=halfspace)

    def fraction_in(self, halfspace: HalfSpaces) -> Tensor:
        """(batch,): the part of a function's range over each region that belongs to its half-space; 0 where none does."""
        both = torch.stack([halfspace.coefficients, -halfspace.coefficients], 1)
        ends = (both * self._minimizer(both)).sum(-1) + torch.stack([halfspace.offset, -halfspace.offset], 1)
        least, most = ends[:, 0], -ends[:, 1]
        return (-least / (most - least).clamp(min=_UNIT)).clamp(0, 1)

    def expand(self, count: int) -> InputSet:
        """The only member of a batch of one, repeated."""
        return self.rows(torch.zeros(count, dtype=torch.long, device=self.lower.device))

    def with_radius(self, radius: Tensor) -> InputSet:
        """The same balls at other radii, no larger than the present ones."""
        assert self.norm is not None and self.center is not None
        low, high = ball_box(self.center, self.norm.box_radius(radius).unsqueeze(-1))
        lower, upper = torch.maximum(self.lower, low), torch.minimum(self.upper, high)
        return replace(self, lower=lower, upper=upper, radius=radius)

    def minimizer(self, coefficients: Tensor) -> Tensor:
        """argmin of coefficients (batch, rows, n) times x over each region, same shape.

        With half-spaces: where the bound of `minimum` is attained, which may lie outside of them.
        """
        return self.lagrangian(coefficients, coefficients.new_zeros(coefficients.shape[:2]))[1]

    def _minimizer(self, coefficients: Tensor) -> Tensor:
        lower, upper = self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        if self.boxed:
            return torch.where(coefficients > 0, lower, upper)
        assert self.norm is not None and self.center is not None and self.radius is not None
        radius = self.radius.unsqueeze(1).expand(coefficients.shape[:2])
        return self.norm.minimizer(coefficients, self.center.unsqueeze(1), radius, lower, upper)

    def _multipliers(self, coefficients: Tensor) -> Tensor:
        """Of the half-spaces, (batch, rows)."""
        assert self.halfspace is not None
        if self.boxed:
            return box_multipliers(self.lower, self.upper, coefficients, self.halfspace)
        assert self.norm is not None and self.center is not None and self.radius is not None
        height = (self.halfspace.coefficients * self.center).sum(-1) + self.halfspace.offset
        guess = self.norm.halfspace_multiplier(coefficients, self.halfspace.coefficients, height, self.radius)
        return multipliers(self._minimizer, coefficients, self.halfspace, guess)

    def lagrangian(self, coefficients: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """What `minimum` proves, without its allowance for rounding and in any precision, and where; for ascents."""
        if self.halfspace is None:
            point = self._minimizer(coefficients)
            return (coefficients * point).sum(-1) + offset, point
        times = self._multipliers(coefficients).to(coefficients.dtype)
        coefficients = torch.addcmul(
            coefficients, times.unsqueeze(-1), self.halfspace.coefficients.to(coefficients).unsqueeze(1)
        )
        point = self._minimizer(coefficients)
        return (coefficients * point).sum(-1) + offset + times * self.halfspace.offset.unsqueeze(1), point

    def minimum(self, coefficients: Tensor, offset: Tensor) -> Tensor:
        """Minimum of coefficients (batch, rows, n) times x plus offset (batch, rows), in float64 and rounded down.

        Differentiable in both: multipliers and minimisers are constants to the gradient (envelope theorem). With
        half-spaces a lower bound, no worse than the minimum without them as far as float32 can tell.
        """
        coefficients, offset = coefficients.to(self.lower.dtype), offset.to(self.lower.dtype)
        return self._minimum(*((coefficients, offset) if self.halfspace is None else self._added(coefficients, offset)))

    def _added(self, coefficients: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The function that is at most the given one in the half-space, with the highest minimum."""
        assert self.halfspace is not None
        return added(coefficients, offset, self.halfspace, self._multipliers(coefficients), self._size)

    @property
    def _size(self) -> Tensor:
        """Bounds (batch, n) on |x|, whose relative errors cover the absolute ones of the smallest numbers."""
        return raised(torch.maximum(self.lower.abs(), self.upper.abs()))

    @property
    def _floor(self) -> float:
        """What underflow may cost a sum of products with the inputs."""
        return (16 * self.lower.shape[1] + 64) * tiny(torch.float64)

    def _minimum(self, coefficients: Tensor, offset: Tensor) -> Tensor:
        magnitude = inner(coefficients.detach().abs(), self._size)
        allowance = (magnitude + offset.detach().abs()) * (4 * self.lower.shape[1] + 64) * _UNIT + self._floor
        if self.boxed:
            middle, half = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
            return inner(coefficients, middle) - inner(coefficients.abs(), half) + offset - allowance
        assert self.norm is not None and self.center is not None and self.radius is not None
        center, radius = self.center.unsqueeze(1), self.radius.unsqueeze(1).expand(coefficients.shape[:2])
        moved = self.norm.least(coefficients, center, radius, self.lower.unsqueeze(1), self.upper.unsqueeze(1))
        at_center = inner(coefficients, self.center)
        return at_center + moved + offset - allowance

    def certified_radius(self, coefficients: Tensor, offset: Tensor, bend: Tensor | None = None) -> Tensor:
        """Largest r such that coefficients x + offset >= 0 on the part of each region within r of its center.

        (batch, rows); inf where it holds on the whole region, 0 where it fails at the center. With half-spaces a lower
        bound on it. Where points within r have a higher offset, by `bend` (R^2 - r^2) with R the region's radius, that
        counts too.
        """
        coefficients, offset = coefficients.to(self.lower.dtype), offset.to(self.lower.dtype)
        radius = self._bent_radius(coefficients, offset, bend)
        if self.halfspace is None:
            return radius
        return torch.maximum(radius, self._bent_radius(*self._added(coefficients, offset), bend))

    def _bent_radius(self, coefficients: Tensor, offset: Tensor, bend: Tensor | None) -> Tensor:
        """By bisection: r is certified when the offset at r certifies r or more."""
        low = self._certified_radius(coefficients, offset)
        if bend is None or not bool((bend > 0).any()):
            return low
        assert self.radius is not None
        whole = self.radius.unsqueeze(-1).expand_as(low)
        high = whole
        for _ in range(_BENDS):
            middle = (torch.minimum(low, whole) + high) / 2
            risen = offset + bend.to(offset.dtype) * (whole**2 - middle**2) * (1 - 1e-9)
            holds = self._certified_radius(coefficients, risen) >= middle
            low, high = torch.where(holds, torch.maximum(low, middle), low), torch.where(holds, high, middle)
        return low

    def _at_center(self, coefficients: Tensor, offset: Tensor) -> Tensor:
        """Value (batch, rows) at the centers, less what rounding may cost there and in a sum of falls."""
        assert self.center is not None
        magnitude = (coefficients.abs() * self._size.unsqueeze(1)).sum(-1) + offset.abs()
        value = (coefficients * self.center.unsqueeze(1)).sum(-1) + offset
        return value - magnitude * (4 * self.lower.shape[1] + 64) * _UNIT - self._floor

    def falls(self, coefficients: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Value of a linear function at each region's center, and by how much each input can lower it inside the box.

        Args:
            coefficients: (batch, n), float64.
            offset: (batch,), float64.

        Returns:
            Values (batch,), lowered by the rounding of any sum of falls, and falls (batch, n).
        """
        assert self.center is not None
        slack = torch.where(coefficients > 0, self.center - self.lower, self.upper - self.center)
        return self._at_center(coefficients.unsqueeze(1), offset.unsqueeze(1)).squeeze(1), coefficients.abs() * slack

    def _certified_radius(self, coefficients: Tensor, offset: Tensor) -> Tensor:
        assert self.norm is not None and self.center is not None
        center = self.center.unsqueeze(1)
        value = self._at_center(coefficients, offset)
        lower, upper = self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        radius = self.norm.certified_radius(coefficients, value, center, lower, upper)
        return radius if self.norm.unit_ball is UnitBall.COUNT else radius * (1 - 1e-12)
