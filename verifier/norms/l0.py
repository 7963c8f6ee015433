"""The number of changed entries, or of changed pixels when colour channels are tied together.

Over k free entries a linear function falls by the sum of its k largest ranges, exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Norm, first_exceeding


class L0(Norm):
    """Number of changed pixels; `channels` consecutive planes of the (C, H, W) input make up one pixel."""

    name = "0"

    def __init__(self, channels: int = 1) -> None:
        """Count entries (1) or pixels of `channels` values."""
        self.channels = channels

    def _pixels(self, values: Tensor) -> Tensor:
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
        changed = self._pixels((delta != 0).to(torch.float64)) > 0
        return changed.sum(-1).to(delta.dtype)

    def _best(self, ranges: Tensor, count: Tensor) -> Tensor:
        """Mask of the `count` largest entries of each row."""
        order = ranges.argsort(-1, descending=True)
        rank = torch.zeros_like(order).scatter(
            -1, order, torch.arange(ranges.shape[-1], device=order.device).expand_as(order)
        )
        return rank < torch.floor(count + 1e-9).unsqueeze(-1)

    def moves(self, a: Tensor, room: Tensor, radius: Tensor) -> Tensor:
        """Full moves of the pixels that pay most."""
        chosen = self._best(self._pixels(a.abs() * room), radius)
        return room * self.spread(chosen.to(room.dtype))

    def reach(self, a: Tensor, room: Tensor, value: Tensor) -> Tensor:
        """How many pixels may change before the value is gone."""
        gains = self._pixels(a.abs() * room).sort(-1, descending=True).values.cumsum(-1)
        k = first_exceeding(gains, value)
        radius = torch.where(k >= gains.shape[-1], torch.full_like(value, torch.inf), k.to(value.dtype))
        return torch.where(value < 0, torch.zeros_like(radius), radius)

    def project(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Keep the largest changes."""
        chosen = self._best(self._pixels(delta * delta), radius)
        return delta * self.spread(chosen.to(delta.dtype))

    def ascent(self, gradient: Tensor, room: Tensor) -> Tensor:
        """Full moves along the gradient: inside l0 balls only the box limits the size."""
        return gradient.sign()

    def box_radius(self, radius: Tensor) -> Tensor:
        """A changed entry may go anywhere."""
        return torch.where(radius >= 1, torch.full_like(radius, torch.inf), torch.zeros_like(radius))
