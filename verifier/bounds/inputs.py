"""Batches of input regions, and the exact minimum of linear functions over them (concretisation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..norms import Norm
from ..specification import Region

_UNIT = 2.0**-53


@dataclass(frozen=True)
class InputSet:
    """A batch of boxes, intersected with balls of one norm where there is one.

    Attributes:
        lower: (batch, n).
        upper: (batch, n); the box is already cut to the ball's bounding box.
        norm: of the balls, or None. A linf ball is a box, so for it `norm` matters for radii only.
        center: (batch, n) or None.
        radius: (batch,) or None.
    """

    lower: Tensor
    upper: Tensor
    norm: Norm | None = None
    center: Tensor | None = None
    radius: Tensor | None = None

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
        if len(balls) != len(regions) or len({ball.norm.name for ball in balls}) > 1:
            raise ValueError("a batch holds balls of one norm, or none")
        radius = torch.tensor([float(ball.radius) for ball in balls], dtype=dtype, device=device)
        return cls(lower, upper, balls[0].norm, stack([ball.center for ball in balls]), radius)

    def __len__(self) -> int:
        """Batch size."""
        return len(self.lower)

    @property
    def is_box(self) -> bool:
        """Whether the region is nothing but the box."""
        return self.norm is None or self.norm.name == "inf"

    def rows(self, index: Tensor) -> InputSet:
        """Some of the batch."""
        return InputSet(
            self.lower[index],
            self.upper[index],
            self.norm,
            None if self.center is None else self.center[index],
            None if self.radius is None else self.radius[index],
        )

    def to(self, dtype: torch.dtype) -> InputSet:
        """The same regions in another precision."""
        return InputSet(
            self.lower.to(dtype),
            self.upper.to(dtype),
            self.norm,
            None if self.center is None else self.center.to(dtype),
            None if self.radius is None else self.radius.to(dtype),
        )

    def expand(self, count: int) -> InputSet:
        """The only member of a batch of one, repeated."""
        return self.rows(torch.zeros(count, dtype=torch.long, device=self.lower.device))

    def with_radius(self, radius: Tensor) -> InputSet:
        """The same balls at other radii, no larger than the present ones."""
        assert self.norm is not None and self.center is not None
        reach = self.norm.box_radius(radius).unsqueeze(-1)
        lower = torch.maximum(self.lower, self.center - reach)
        upper = torch.minimum(self.upper, self.center + reach)
        return replace(self, lower=lower, upper=upper, radius=radius)

    def minimizer(self, coefficients: Tensor) -> Tensor:
        """argmin of coefficients (batch, rows, n) times x over each region; same shape."""
        lower, upper = self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        if self.is_box:
            return torch.where(coefficients > 0, lower, upper)
        assert self.norm is not None and self.center is not None and self.radius is not None
        radius = self.radius.unsqueeze(1).expand(coefficients.shape[:2])
        return self.norm.minimizer(coefficients, self.center.unsqueeze(1), radius, lower, upper)

    def minimum(self, coefficients: Tensor, offset: Tensor) -> Tensor:
        """Minimum of coefficients (batch, rows, n) times x plus offset (batch, rows), in float64 and rounded down.

        Differentiable in both: the minimiser is a constant to the gradient (envelope theorem).
        """
        coefficients, offset = coefficients.to(self.lower.dtype), offset.to(self.lower.dtype)
        size = torch.maximum(self.lower.abs(), self.upper.abs())
        magnitude = torch.matmul(coefficients.detach().abs(), size.unsqueeze(-1)).squeeze(-1) + offset.detach().abs()
        return self._minimum(coefficients, offset) - magnitude * (4 * self.lower.shape[1] + 64) * _UNIT

    def _minimum(self, coefficients: Tensor, offset: Tensor) -> Tensor:
        if self.is_box:
            middle, half = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
            value = torch.matmul(coefficients, middle.unsqueeze(-1)) - torch.matmul(
                coefficients.abs(), half.unsqueeze(-1)
            )
            return value.squeeze(-1) + offset
        with torch.no_grad():
            x = self.minimizer(coefficients)
        return (coefficients * x).sum(-1) + offset

    def certified_radius(self, coefficients: Tensor, offset: Tensor) -> Tensor:
        """Largest r such that coefficients x + offset >= 0 on the part of each region within r of its center.

        (batch, rows); inf where it holds on the whole region, 0 where it fails at the center.
        """
        assert self.norm is not None and self.center is not None
        coefficients, offset = coefficients.to(self.lower.dtype), offset.to(self.lower.dtype)
        center = self.center.unsqueeze(1)
        value = (coefficients * center).sum(-1) + offset
        size = torch.maximum(self.lower.abs(), self.upper.abs()).unsqueeze(1)
        magnitude = (coefficients.abs() * size).sum(-1) + offset.abs()
        value = value - magnitude * (4 * self.lower.shape[1] + 64) * _UNIT
        lower, upper = self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        radius = self.norm.certified_radius(coefficients, value, center, lower, upper)
        return radius if self.norm.name == "0" else radius * (1 - 1e-12)
