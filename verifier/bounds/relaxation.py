"""Linear functions below and above ReLUs and maxima, given bounds on what they read.

ReLU on [l, u], l < 0 < u: alpha x <= relu(x) <= u (x - l) / (u - l), any alpha in [0, 1]
(Zhang et al., CROWN, NeurIPS 2018; Xu et al., alpha-CROWN, ICLR 2021).
Maximum over a window: at least its member of largest lower bound; at most the largest upper bound, and equal to one
member where that member dominates all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .activation_balls import ReluBall, ValueBall
from .bounds import Interval


@dataclass(frozen=True)
class ReluRelaxation:
    """lower_slope x <= relu(x) <= upper_slope x + upper_offset; each (batch, 1 or rows, size).

    Where a ball is known, what the lines lose together over it may count instead of the offsets.
    """

    lower_slope: Tensor
    upper_slope: Tensor
    upper_offset: Tensor
    ball: ReluBall | None = None

    def with_slopes(self, alpha: Tensor, unstable: Tensor) -> ReluRelaxation:
        """Other lower slopes (clipped to [0, 1]) for the unstable ReLUs; shapes broadcast."""
        slopes = torch.where(unstable, alpha.clamp(0, 1), self.lower_slope)
        return ReluRelaxation(slopes, self.upper_slope, self.upper_offset, self.ball)

    def rows(self, index: Tensor) -> ReluRelaxation:
        """Some of the batch."""
        ball = None if self.ball is None else self.ball.rows(index)
        return ReluRelaxation(self.lower_slope[index], self.upper_slope[index], self.upper_offset[index], ball)

    def to(self, dtype: torch.dtype) -> ReluRelaxation:
        """The same in another precision."""
        ball = None if self.ball is None else self.ball.to(dtype)
        lines = self.lower_slope.to(dtype), self.upper_slope.to(dtype), self.upper_offset.to(dtype)
        return ReluRelaxation(*lines, ball)


def relax_relu(interval: Interval, dtype: torch.dtype = torch.float64, ball: ValueBall | None = None) -> ReluRelaxation:
    """Triangle above; below, the side of the triangle that wastes less area (CROWN's adaptive choice).

    The upper line is valid for the slope as rounded to `dtype`: its offset is computed from that slope and rounded up.
    `ball` holds what is read.
    """
    lower, upper = interval.lower.unsqueeze(1), interval.upper.unsqueeze(1)
    clipped_lower, clipped_upper = lower.clamp(max=0), upper.clamp(min=0)
    width = (clipped_upper - clipped_lower).clamp(min=1e-300)
    active = lower >= 0
    slope = torch.where(active, torch.ones_like(lower), clipped_upper / width)
    slope = slope.to(dtype).to(lower.dtype)
    needed = torch.maximum(-slope * clipped_lower, (1 - slope) * clipped_upper)
    needed = needed * (1 + 4 * torch.finfo(dtype).eps) + torch.finfo(dtype).tiny
    offset = torch.where(active, torch.zeros_like(lower), needed)
    adaptive = (clipped_upper > -clipped_lower).to(lower.dtype)
    lower_slope = torch.where(active, torch.ones_like(lower), adaptive)
    inactive = upper <= 0
    zero = torch.zeros_like(lower)
    return ReluRelaxation(
        torch.where(inactive, zero, lower_slope).to(dtype),
        torch.where(inactive, zero, slope).to(dtype),
        torch.where(inactive, zero, offset).to(dtype),
        None if ball is None else ReluBall.of(interval.lower, interval.upper, ball),
    )


@dataclass(frozen=True)
class MaxRelaxation:
    """x[lower_member] <= max <= x[lower_member] where `dominated`, else the constant `upper`; each (batch, size)."""

    lower_member: Tensor
    dominated: Tensor
    upper: Tensor

    def rows(self, index: Tensor) -> MaxRelaxation:
        """Some of the batch."""
        return MaxRelaxation(self.lower_member[index], self.dominated[index], self.upper[index])

    def to(self, dtype: torch.dtype) -> MaxRelaxation:
        """The same in another precision."""
        return MaxRelaxation(self.lower_member, self.dominated, self.upper.to(dtype))


def relax_max(interval: Interval, windows: Tensor, dtype: torch.dtype = torch.float64) -> MaxRelaxation:
    """Relaxation of the maxima over `windows` (size, members) of a node with the given interval."""
    lower, upper = interval.lower[:, windows], interval.upper[:, windows]
    best = lower.argmax(-1)
    member = windows.expand(len(lower), -1, -1).gather(-1, best.unsqueeze(-1)).squeeze(-1)
    others = upper.masked_fill(windows.expand_as(upper) == member.unsqueeze(-1), -torch.inf).amax(-1)
    highest = upper.amax(-1)
    highest = highest + highest.abs() * (2 * torch.finfo(dtype).eps) + torch.finfo(dtype).tiny
    return MaxRelaxation(member, lower.amax(-1) >= others, highest.to(dtype))
