"""The number of changed entries, or of changed pixels when colour channels are tied together.

Over k free entries a linear function falls by the sum of its k largest ranges, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from .base import Norm, UnitBall, first_exceeding, held


class L0(Norm):
    """Number of changed pixels; `channels` consecutive planes of the (C, H, W) input make up one pixel."""

    name = "0"
    unit_ball = UnitBall.COUNT

    def __init__(self, channels: int = 1) -> None:
        """Count entries (1) or pixels of `channels` values."""
        self.channels = channels

    @property
    def key(self) -> str:
        """Says how many channels are tied."""
        return self.name if self.channels == 1 else f"{self.name} of {self.channels} channels"

    def pixels(self, values: Tensor) -> Tensor:
        """Sum over the channels: (..., n) to (..., pixels)."""
        if self.channels == 1:
            return values
        planes: Tensor = values.unflatten(-1, (self.channels, values.shape[-1] // self.channels))
        return planes.sum(-2)

    def spread(self, pixels: Tensor) -> Tensor:
        """One value a pixel to one value an entry."""
        return torch.cat([pixels] * self.channels, -1) if self.channels > 1 else pixels

    def length(self, delta: Tensor) -> Tensor:
        """Count of pixels with any change."""
        changed = self.pixels((delta != 0).to(torch.float64)) > 0
        return changed.sum(-1).to(delta.dtype)

    def within(self, delta: Sequence[float | Fraction], radius: float) -> bool:
        """Count the pixels that change."""
        pixels = len(delta) // self.channels
        return len({i % pixels for i, d in enumerate(delta) if d != 0}) <= radius

    def _priority(self, ranges: Tensor) -> Tensor:
        """Pixels (..., pixels) of highest priority are those that change."""
        return ranges

    def _first(self, ranges: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels that change when `count` (...) may, with who of them is still among so many; both (..., most)."""
        count = torch.floor(count + 1e-9)
        most = min(float(count.amax()) if count.numel() else 0.0, ranges.shape[-1])
        first = self._priority(ranges).topk(math.floor(most), -1).indices
        within = torch.arange(first.shape[-1], device=first.device) < count.unsqueeze(-1)
        return first, within.expand(first.shape)

    def maximizer(self, a: Tensor, slack: Tensor, radius: Tensor) -> Tensor:
        """Full moves of the pixels that pay most."""
        ranges = self.pixels(a.abs() * slack)
        first, within = self._first(ranges, radius)
        return slack * self.spread(torch.zeros_like(ranges).scatter(-1, first, within.to(ranges.dtype)))

    def least(self, a: Tensor, center: Tensor, radius: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Minus the ranges of the pixels that pay most."""
        ranges = self.pixels(a.abs() * torch.where(a > 0, center - lower, upper - center))
        first, within = self._first(ranges, radius)
        return -(ranges.gather(-1, first) * within).sum(-1)

    def largest_radius(self, a: Tensor, slack: Tensor, value: Tensor) -> Tensor:
        """How many pixels may change before the value is gone; -1 where it is at the center."""
        ranges = self.pixels(a.abs() * slack)
        order = self._priority(ranges).argsort(-1, descending=True)
        gains = ranges.gather(-1, order).cumsum(-1)
        k = first_exceeding(gains, value)
        radius = torch.where(k >= gains.shape[-1], torch.full_like(value, torch.inf), k.to(value.dtype))
        return held(radius, value, otherwise=-1.0)

    def project(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Keep the largest changes."""
        sizes = self.pixels(delta * delta)
        first, within = self._first(sizes, radius)
        return delta * self.spread(torch.zeros_like(sizes).scatter(-1, first, within.to(sizes.dtype)))

    def ascent(self, gradient: Tensor, slack: Tensor) -> Tensor:
        """Full moves along the gradient: inside l0 balls only the box limits the size."""
        return gradient.sign()

    def box_radius(self, radius: Tensor) -> Tensor:
        """A changed entry may go anywhere."""
        return torch.where(radius >= 1, torch.full_like(radius, torch.inf), torch.zeros_like(radius))


class ChosenL0(L0):
    """l0 balls, a batch of them, in each of which some pixels are counted as changed whether they change or not.

    What is left of a ball when those pixels are free: as many others may change as the radius exceeds their number.
    """

    def __init__(self, chosen: Tensor, channels: int = 1) -> None:
        """`chosen` (batch, pixels) says which; no more of them than the radius."""
        super().__init__(channels)
        self.chosen = chosen

    def rows(self, index: Tensor) -> ChosenL0:
        """Those of some of the balls."""
        return ChosenL0(self.chosen[index], self.channels)

    def _priority(self, ranges: Tensor) -> Tensor:
        """Those chosen come first, whatever they change."""
        chosen = self.chosen.view(len(self.chosen), *[1] * (ranges.dim() - 2), -1)
        return ranges.masked_fill(chosen, torch.inf)
